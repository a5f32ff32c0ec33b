"""Log lines: one text or one JSON object each, with the ids of the request that led to them.

Nothing that a value contains can end a line or look like another one: control characters are escaped, and the further
lines of a traceback are indented. Values of events and rows, which may be personal, stay out.
"""

import json
import logging
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from apps.eventlog.errors.log_lines import cleaned
from apps.eventlog.monitoring import origin
from apps.eventlog.monitoring.later import later

LOGGERS = {about: logging.getLogger(f"headrace.{about}") for about in ("request", "command")}
PIECE = 4096  # bytes that go into a pipe whole (PIPE_BUF)
LONGEST = 300  # characters of a value
# PostgreSQL's errors have several lines. Those from `DETAIL` on show values of rows.
DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT): .*", re.DOTALL)
PLAIN = re.compile(r"[!#-<>-~]+")  # a value that needs no quotes in a line of text

# What moves a terminal's cursor, turns its text around or hides in it: controls, marks of direction, separators, tags.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object) -> str:
    """A text for a terminal, in which a name or a reason from the log cannot do more than be read."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def write(about: str, event: str, level: int, fields: dict[str, Any], at: float) -> None:
    """Write a line of our own about a `request` or a `command`, that is from an instant.

    `fields` without values are left out.
    """
    logger = LOGGERS[about]
    if logger.isEnabledFor(level):
        # Not by `logger.log`, which looks through the stack for its caller: a third of the time that a line takes.
        record = logger.makeRecord(logger.name, level, "", 0, event, (), None)
        record.created, record.fields = at, fields
        logger.handle(record)


class SaysMore(logging.Filter):
    """Leaves out what Django says of each answer that is an error, unless there is a traceback: our line says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class LineHandler(logging.StreamHandler[Any]):
    """Writes to stderr. The lines of a batch (`later.py`) go out together, in pieces that other processes cannot cut.

    Each write of its own would give Python's lock away, and the thread would have to get it back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []
        self.size = 0
        later.at_end.append(self.write_kept)

    def emit(self, record: logging.LogRecord) -> None:
        if not later.in_batch():
            super().emit(record)
            return
        line = self.format(record)
        self.size += len(line) + 1
        if self.size > PIECE:
            self.write_kept()
            self.size = len(line) + 1
        self.kept.append(line)

    def write_kept(self) -> None:
        """Write what the batch has so far."""
        if self.kept:
            text = "\n".join([*self.kept, ""])
            self.kept, self.size = [], 0
            with suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
                self.stream.write(text)
                self.flush()


class LineFormatter(logging.Formatter):
    """Formats every record of this process, ours and those of libraries, as `text` or `json`.

    structlog renders; it is loaded with the first record that needs it, for most commands of `manage.py` write none.
    Its own ProcessorFormatter copies each record, which takes as long as all the rest.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.render = _as_text if form == "text" else _as_json

    def format(self, record: logging.LogRecord) -> str:
        if "fields" not in record.__dict__:  # a line of ours has ids, names from the code and numbers alone
            record = cleaned(record)
        return self.render(record, _fields(record))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says besides its message: a line of ours its fields, any other the ids of the request."""
    fields = getattr(record, "fields", None)
    if fields is None:
        fields = origin.current().known()
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = record.exc_text or ""  # `cleaned` has set it
    return fields


def _as_json(record: logging.LogRecord, fields: dict[str, Any]) -> str:
    said = {name: _short(value) if name != "exception" else value for name, value in fields.items() if value != ""}
    first = {
        "time": _instant(record.created),
        "level": record.levelname.lower(),
        "event": without_details(record.getMessage()),
    }
    return _json_renderer()(None, "", {**first, "logger": record.name, **said})


@cache
def _json_renderer() -> Any:
    from structlog.processors import JSONRenderer  # noqa: PLC0415

    encode = json.JSONEncoder(default=str).encode
    return JSONRenderer(lambda values, **_: encode(values))


def _as_text(record: logging.LogRecord, fields: dict[str, Any]) -> str:
    traceback, event = "", without_details(record.getMessage())
    parts = [
        _instant(record.created),
        record.levelname,
        visible(event if "fields" in record.__dict__ else f"{record.name}: {event}"),
    ]
    for name, value in fields.items():
        if name == "exception":
            traceback = value
        elif value != "":
            parts.append(f"{name}={_quoted(_short(value))}")
    return "\n  ".join([" ".join(parts), *map(visible, filter(None, traceback.split("\n")))])


def without_details(text: str) -> str:
    """The text of an error without the lines in which PostgreSQL shows values of rows."""
    return DETAIL.sub("", text)


def _quoted(value: Any) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def _short(value: Any) -> Any:
    return f"{value[:LONGEST]}..." if isinstance(value, str) and len(value) > LONGEST else value


def _instant(seconds: float) -> str:
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1_000_000):06d}Z"


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
