"""What a log says of an error: PostgreSQL's errors have several lines, and from `DETAIL` on they show values of rows.

These may be personal, and stay out.
"""

import re
import traceback
from collections.abc import Iterator

_DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT): .*", re.DOTALL)
CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"


def traceback_of(error: BaseException) -> str:
    """What `traceback` prints of an error and of those that led to it, each without its details."""
    return "\n".join(_parts(error, set())).rstrip()


def without_details(text: str) -> str:
    """The text of an error without the lines in which PostgreSQL shows values of rows."""
    return _DETAIL.sub("", text)


def _parts(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """What `traceback` prints of an error and those before it, each without its details."""
    if error is None:
        return
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _parts(before, seen)
        yield CAUSE if error.__cause__ else CONTEXT
    yield "".join(["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]).rstrip()
    yield without_details("".join(traceback.format_exception_only(error)).rstrip())
