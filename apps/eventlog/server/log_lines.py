"""How a process writes its log: each record begins with a time, and has one line, unless a traceback follows.

PostgreSQL's errors have several lines. Those from `DETAIL` on show values of rows, which may be personal, and stay out.
"""

import logging
import re
import traceback
from collections.abc import Iterator
from typing import Any

_DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT): .*", re.DOTALL)
_LINES = re.compile(r"\s*[\r\n]+\s*")
CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"


class LineFormatter(logging.Formatter):
    """Formats records so that what another program or person has written into a text cannot look like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = in_one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(_parts(ei[1], set())).rstrip()


def in_one_line(text: str) -> str:
    """The text without the details of PostgreSQL's errors, in one line."""
    return _LINES.sub(" | ", without_details(text).strip())


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
