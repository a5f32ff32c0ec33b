"""How long the head of a request may be: its URL and its headers.

Python's own parsers read them. Those of `Content-Type` and `Cookie` take time that grows with the square of the length:
100 KB of backslashes in a cookie took 13 s. So these two have tighter bounds than the other headers.
"""

from typing import Any

TARGET = 16 * 1024  # bytes of path and query
HEADERS, HEADER_BYTES = 100, 32 * 1024
MEDIA_TYPE = 2000  # bytes
COOKIE_ESCAPES = 100  # backslashes in cookies; the cookies of Django and of this application have none


def fault_of(scope: dict[str, Any]) -> tuple[int, str] | None:
    """The status and the reason why the head of an ASGI request is refused; None if it is not."""
    query, headers = scope["query_string"], scope["headers"]
    if len(scope["path"]) + len(query) > TARGET:
        return 414, f"the URL has more than {TARGET} bytes"
    if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
        return 431, f"the headers are more than {HEADERS}, or more than {HEADER_BYTES} bytes"
    if len(_all(headers, b"content-type")) > MEDIA_TYPE:
        return 431, f"Content-Type has more than {MEDIA_TYPE} bytes"
    if _all(headers, b"cookie").count(b"\\") > COOKIE_ESCAPES:
        return 431, f"the cookies have more than {COOKIE_ESCAPES} backslashes"
    return None


def _all(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """The values of a header, joined; a request may have it several times."""
    return b",".join([value for name, value in headers if name.lower() == wanted])
