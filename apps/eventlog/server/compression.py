"""gzip for long answers: a list of 50 becomes a sixth as long. One document is too short to be worth the time."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

LEAST = 4096  # bytes; a shorter answer fits into a few packets and would not arrive sooner


class ListCompressionMiddleware(GZipMiddleware):
    """Compresses long answers of the API for clients that accept gzip. Django adds random padding against BREACH.

    It compresses no stream, because an event would wait for the next ones. It compresses no answer with an ETag,
    because the ETag would become weak, and `If-Match` takes no weak ones.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not request.path.startswith("/api/") or response.streaming or response.has_header("ETag"):
            return response
        if len(response.content) < LEAST:  # type: ignore[attr-defined]
            return response
        return super().process_response(request, response)
