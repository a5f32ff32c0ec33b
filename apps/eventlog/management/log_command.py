"""What Headrace's own commands have in common."""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.utils import OperationalError, ProgrammingError

from apps.eventlog.errors.texts import without_values
from apps.eventlog.monitoring.lines import visible  # noqa: F401  (commands find it here)

UNDEFINED_TABLE = "42P01"  # PostgreSQL's code


class LogCommand(BaseCommand):
    """Base of commands on the log and the read models.

    Such a command starts without Django's system checks: they load all pages, which takes nearly as long as the rest
    of the start. `manage.py check` and every `migrate` run them. If a database cannot be reached or has no tables yet,
    the command ends with one line, a CommandError (`--traceback` shows where it came from). If nobody reads its output
    any more, it ends in silence.
    """

    requires_system_checks = ()
    takes_everything = False  # does it work on every database, so that SERVE may leave none out?

    def execute(self, *args: Any, **options: Any) -> str | None:
        if self.takes_everything and settings.LEFT_OUT:
            left_out = ", ".join(settings.LEFT_OUT)
            raise CommandError(f"this takes every database, and SERVE leaves out {left_out}: run it with SERVE=")
        try:
            printed = super().execute(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # the program that reads the output, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit would fail too
            sys.exit(1)
        except (OperationalError, ProgrammingError) as error:
            missing = getattr(error.__cause__, "sqlstate", None) == UNDEFINED_TABLE or "no such table" in str(error)
            sqlite = getattr(error.__cause__, "sqlite_errorcode", None)
            if not missing and (isinstance(error, ProgrammingError) or sqlite == sqlite3.SQLITE_ERROR):
                raise  # the statement itself is wrong
            advice = "; run manage.py migrate first" if missing else ""
            raise CommandError(f"{without_values(error)}{advice}") from error
        return printed


def say_left_out(command: BaseCommand, what: str) -> None:
    """Say in one line what a command does not do for those that SERVE leaves out, if there are any."""
    if settings.LEFT_OUT:
        command.stderr.write(f"SERVE leaves out {', '.join(settings.LEFT_OUT)}: {what}")


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within the block, as Ctrl-C does, so that what was begun is tidied up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets within the block, so that a loop can end after its current step.

    Afterwards the handlers are those from before: code that has called the command must still end at Ctrl-C.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
