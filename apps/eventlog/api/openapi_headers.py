"""The headers of requests and answers, as the API's schema describes them."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter


def _header(name: str, schema: dict[str, Any], description: str, response: list[int] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, schema, "header", description=description, response=response or False)


POSITION = {"type": "string", "pattern": "^[0-9]{1,18}$"}
TEXTUAL = {"type": "string"}
KEY = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}
TAG = {"type": "string", "pattern": '^"[0-9]{1,9}"$'}

WAIT = _header("Retry-After", {"type": "integer", "minimum": 1}, "seconds", [409, 429, 503])
CHALLENGE = _header("WWW-Authenticate", TEXTUAL, "how to authenticate", [401])
ONCE = _header(
    "Idempotency-Key",
    KEY,
    "if a request is sent again with the same key and body, it gets the first answer and makes no second event",
)
AT_VERSION = _header("If-Match", TAG, "run the command only if the document is still at this version; else 412")
WHERE = _header("Event-Position", POSITION, "the position of the event in the log", [201, 202])
CREATED = _header("Location", {"type": "string", "format": "uri"}, "the URL of the new document", [201])
AS_OF = _header("Min-Event-Position", POSITION, "wait up to two seconds until the rows show this position, else 503")
KNOWN = _header("If-None-Match", TEXTUAL, "the ETag of the document that you have; 304 if that is still its version")
VERSION = _header("ETag", TEXTUAL, "the version of the document, in quotes", [200, 304])
