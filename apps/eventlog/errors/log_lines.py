"""What a process writes of an error, in a log or as its last words, has no values of events and rows either."""

import copy
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from apps.eventlog.errors.texts import Impersonal, without_values


def cleaned(record: logging.LogRecord) -> logging.LogRecord:
    """A copy of a record, for a formatter: errors in it have lost what may be a value; `exc_text` is the traceback."""
    clean = copy.copy(record)
    clean.msg = _stated(record.msg)
    if isinstance(record.args, tuple):
        clean.args = tuple(map(_stated, record.args))
    if record.exc_info and record.exc_info[1]:
        clean.exc_text = traced(record.exc_info[1])
    return clean


def _stated(value: Any) -> Any:
    if isinstance(value, Impersonal):
        return str(value)
    return without_values(value) if isinstance(value, BaseException) else value


def traced(error: BaseException) -> str:
    """The traceback of an error, after those of the errors that led to it. Lines of code and no values."""
    return "\n\nThat led to:\n\n".join(reversed(list(map(_trace, _chain(error)))))


def _trace(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{frames}{without_values(error)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, as Python shows them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def print_uncaught_without_values() -> None:
    """From now on, an error that ends this process or one of its threads is printed without values."""
    sys.excepthook = _print
    threading.excepthook = lambda ended: _print(ended.exc_type, ended.exc_value, ended.exc_traceback)


def _print(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
    else:
        sys.stderr.write(f"{traced(error)}\n")
