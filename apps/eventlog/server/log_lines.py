"""How a process writes its log: each record begins with a time, and has one line, unless a traceback follows.

PostgreSQL's errors have several lines. Those from `DETAIL` on show values of rows, which may be personal, and stay out.
"""

import logging
import re

from apps.eventlog.errors.log_lines import cleaned

_DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT): .*", re.DOTALL)
_LINES = re.compile(r"\s*[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+\s*")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


class LineFormatter(logging.Formatter):
    """Formats records so that what another program or person has written into a text cannot look like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = in_one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(cleaned(record))


def in_one_line(text: str) -> str:
    """The text without the details of PostgreSQL's errors, in one line, and with control characters to be read."""
    line = _LINES.sub(" | ", without_details(text).strip())
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


def without_details(text: str) -> str:
    """The text of an error without the lines in which PostgreSQL shows values of rows."""
    return _DETAIL.sub("", text)
