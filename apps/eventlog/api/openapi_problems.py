"""Problem documents as the API's schema describes them."""

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from apps.eventlog.api.problems import CONTENT_TYPE

MEANS = {
    400: "A field, parameter or header is not valid; `errors` names each",
    401: "No token, or one that is not valid",
    403: "Not for this login",
    404: "Not there, or another's",
    406: "Nothing that `Accept` asks for",
    409: "A rule forbids it, a value is taken, or the first request with this `Idempotency-Key` is still running",
    410: "The person was erased",
    412: "Not at the version of `If-Match`",
    413: "The body is too large",
    415: "Not plain JSON in UTF-8",
    422: "This `Idempotency-Key` was sent with another body",
    429: "Too many tries",
    503: "Not available yet, or a database is away; try again",
}


class FieldErrorSerializer(serializers.Serializer[None]):
    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901), or the name of a parameter or header")
    detail = serializers.CharField()
    code = serializers.CharField(required=False)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A field",
            {
                "type": "about:blank",
                "title": "Bad Request",
                "status": 400,
                "detail": "some fields are not valid",
                "errors": [{"pointer": "/lines/0/quantity", "detail": "not a number", "code": "invalid"}],
            },
            media_type=CONTENT_TYPE,
            status_codes=[400],
        )
    ]
)
class ProblemSerializer(serializers.Serializer[None]):
    """What went wrong (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    more_errors = serializers.IntegerField(required=False, help_text="how many more errors there are")
