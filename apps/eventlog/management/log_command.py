"""What Headrace's own commands have in common."""

import os
import sqlite3
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.utils import OperationalError, ProgrammingError

UNDEFINED_TABLE = "42P01"  # PostgreSQL's code


class LogCommand(BaseCommand):
    """A command on the log and the read models.

    It needs no pages, so it does not load and check them first, which takes nearly as long as the rest of its start;
    `manage.py check` does, and so does every `migrate`. A database that cannot be reached or has no tables yet is
    said in a line, as CommandError; `--traceback` says where. Nobody is told of a pipe that was closed.
    """

    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            printed = super().execute(*args, **options)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads what is printed, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would fail too
            sys.exit(1)
        except (OperationalError, ProgrammingError) as error:
            missing = getattr(error.__cause__, "sqlstate", None) == UNDEFINED_TABLE or "no such table" in str(error)
            sqlite = getattr(error.__cause__, "sqlite_errorcode", None)
            if not missing and (isinstance(error, ProgrammingError) or sqlite == sqlite3.SQLITE_ERROR):
                raise  # the fault is in the statement
            way_out = "; run manage.py migrate first" if missing else ""
            raise CommandError(f"{str(error).splitlines()[0]}{way_out}") from error
        return printed
