"""Log lines: one text or one JSON object each, with the ids of the request that led to them.

Nothing that a value contains can end a line or look like another one: control characters are escaped, and the further
lines of a traceback are indented.
"""

import json
import logging
import re
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from apps.eventlog.monitoring import origin

FORMATS = ("text", "json")
LONGEST = 300  # characters of a value
PLAIN = re.compile(r"[!#-<>-~]+")  # a value that needs no quotes in a line of text

# What moves a terminal's cursor, turns its text around or hides in it: controls, marks of direction, separators, tags.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: object) -> str:
    """A text for a terminal, in which a name or a reason from the log cannot do more than be read."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def write(about: str, event: str, level: int, fields: dict[str, Any]) -> None:
    """Write a line of our own about a `request` or a `command`; `fields` without values are left out."""
    logger = logging.getLogger(f"headrace.{about}")
    if logger.isEnabledFor(level):
        logger.log(
            level, event, extra={"fields": {name: _short(value) for name, value in fields.items() if value != ""}}
        )


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= LONGEST else f"{value[:LONGEST]}..."


class SaysMore(logging.Filter):
    """Leaves out what Django says of each answer that is an error, unless there is a traceback: our line says it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class LineFormatter(logging.Formatter):
    """Formats every record of this process, ours and those of libraries, by structlog's processors.

    `form` is `text` or `json`. structlog is loaded with the first record: most commands of `manage.py` write none.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def format(self, record: logging.LogRecord) -> str:
        return self._structlog.format(record)

    @cached_property
    def _structlog(self) -> logging.Formatter:
        import structlog  # noqa: PLC0415

        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_described, structlog.processors.format_exc_info],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _as_text if self.form == "text" else structlog.processors.JSONRenderer(default=str),
            ],
        )


def _described(logger: Any, method: str, values: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """What every line says, in this order: time, level, event, who logs, the ids, and then what is its own."""
    record = values["_record"]
    described = {
        "time": _instant(record.created),
        "level": record.levelname.lower(),
        "event": values.pop("event"),
        "logger": record.name,
        **origin.current().known(),
        **getattr(record, "fields", {}),
    }
    return {**described, **values}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _as_text(logger: Any, method: str, values: MutableMapping[str, Any]) -> str:
    time, level, event, name = (values.pop(key) for key in ("time", "level", "event", "logger"))
    traceback = values.pop("exception", "")
    ours = name.startswith("headrace.")
    said = [
        visible(event if ours else f"{name}: {event}"),
        *[f"{key}={_quoted(value)}" for key, value in values.items()],
    ]
    lines = [f"{time} {level.upper()} {' '.join(said)}", *str(traceback).split("\n")]
    return "\n  ".join(map(visible, filter(None, lines)))


def _quoted(value: Any) -> str:
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
