"""A shadow table: built while the live table serves, and put in its place in one transaction."""

from typing import Any

from django.apps.registry import Apps
from django.db import connections
from django.db.models import Model
from django.db.models.base import ModelBase
from django.db.utils import OperationalError

from apps.eventlog.errors.texts import Impersonal
from apps.eventlog.replay.shadow_engine import SUFFIX, ShadowEngine
from apps.eventlog.replay.shadow_postgresql import PostgreSQL
from apps.eventlog.replay.shadow_sqlite import SQLite

LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code


class TableInUse(Impersonal):
    """Another transaction has used the live table or the shadow table for too long."""


class ShadowTable:
    """A copy of a model's table under another name, empty at first and without secondary indexes.

    `model` writes to it. After `build_indexes` and `replace_live`, the table has the name of the live one, and all its
    indexes and constraints under their own names, so that later migrations find what they expect.
    """

    def __init__(self, live: type[Model]) -> None:
        self.connection = connections[live._meta.app_label]
        sqlite = self.connection.vendor == "sqlite"
        self.engine: ShadowEngine = SQLite(self.connection) if sqlite else PostgreSQL(self.connection)
        self.live = live._meta.db_table
        self.name = self.live + SUFFIX
        self.model = _model_of(live, self.name)

    def create(self) -> None:
        """Make the table. A rebuild that was killed may have left one; it is dropped."""
        self._run(f'DROP TABLE IF EXISTS "{self.name}"', *self.engine.create(self.live, self.name))

    def build_indexes(self) -> None:
        self.engine.build_indexes(self.live, self.name)

    def keep_maintenance_away(self) -> None:
        """Keep vacuum and the like from both tables until the caller's transaction ends; rows can still be written.

        Raises `TableInUse` if maintenance is at work and goes on for long.
        """
        self._run(*self.engine.keep_maintenance_away(self.live, self.name))

    def lock_live(self) -> None:
        """Keep all others from the live table until the caller's transaction ends. Raises `TableInUse`.

        While it asks for the lock, others queue behind it, so it gives up soon; the caller tries again later.
        """
        self._run(*self.engine.lock(self.live))

    def replace_live(self) -> None:
        """Drop the live table and take its name, in the transaction that has called `lock_live`."""
        renames = self.engine.rename_indexes(self.live)
        self._run(f'DROP TABLE "{self.live}"', f'ALTER TABLE "{self.name}" RENAME TO "{self.live}"', *renames)

    def drop(self) -> None:
        self._run(f'DROP TABLE IF EXISTS "{self.name}"')

    def _run(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            try:
                for statement in statements:
                    cursor.execute(statement)
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
                raise TableInUse(f"another transaction has used {self.live} for too long") from error


def _model_of(live: type[Model], table: str) -> type[Model]:
    """A model with the fields of another, in a table of another name."""
    fields = {field.name: field.clone() for field in live._meta.concrete_fields}
    options = {"app_label": live._meta.app_label, "db_table": table, "managed": False, "apps": Apps()}
    meta = type("Meta", (), options)
    model: Any = ModelBase(live.__name__, (Model,), {**fields, "Meta": meta, "__module__": live.__module__})
    return model
