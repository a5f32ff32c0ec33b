"""gzip where it pays: a list of 50 is a sixth as long then, and a document not worth the time."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

LEAST = 4096  # bytes; what fits into a few packets arrives as soon


class ListCompressionMiddleware(GZipMiddleware):
    """Compresses long answers of the API for clients that take gzip; Django pads each at random, against BREACH.

    Left as they are: streams, which must not wait to be compressed, and what has an ETag, which would be weak then
    and no good for `If-Match`.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not request.path.startswith("/api/") or response.streaming or response.has_header("ETag"):
            return response
        if len(response.content) < LEAST:  # type: ignore[attr-defined]
            return response
        return super().process_response(request, response)
