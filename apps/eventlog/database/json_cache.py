"""Django's cache in a table, with JSON for values.

Django's own keeps pickles there, so whoever can write the table could run code in the server.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.db import connections, router
from django.utils import timezone

from apps.eventlog.database.statements import marks, rows

SET = (
    "INSERT INTO {table} (cache_key, value, expires) VALUES (%s, %s, %s)"
    " ON CONFLICT (cache_key) DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
STATEMENTS = {
    "set": SET,
    "add": f"{SET} WHERE {{table}}.expires <= %s",
    "touch": "UPDATE {table} SET expires = %s WHERE cache_key = %s AND expires > %s",
}


class JsonCache(DatabaseCache):
    """A cache that keeps what JSON has: a tuple comes back as a list, and an object is a TypeError.

    What stands in the table and is no JSON is as good as not there.
    """

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        names = {self.make_and_validate_key(key, version=version): key for key in keys}
        if not names:
            return {}
        query = f"SELECT cache_key, value FROM {self._name} WHERE cache_key IN {marks(names)} AND expires > %s"  # noqa: S608
        found = rows(self._alias, query, [*names, self._adapted(timezone.now())])
        values = {names[key]: _value(text) for key, text in found}
        return {key: value for key, value in values.items() if value is not _UNREADABLE}

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return key in self.get_many([key], version)

    def _base_set(self, mode: str, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT) -> bool:  # type: ignore[assignment]
        """`set`, `add` and `touch` of Django's class come here. Returns whether a row was written."""
        text, now, expires = json.dumps(value), self._adapted(timezone.now()), self._expires(timeout)
        parameters = {
            "set": (key, text, expires),
            "add": (key, text, expires, now),
            "touch": (expires, key, now),
        }[mode]
        with connections[self._alias].cursor() as cursor:
            self._make_room(cursor)
            cursor.execute(STATEMENTS[mode].format(table=self._name), parameters)
            return bool(cursor.rowcount)

    def _make_room(self, cursor: Any) -> None:
        cursor.execute(f"SELECT count(*) FROM {self._name}")  # noqa: S608
        [number] = cursor.fetchone()
        if number > self._max_entries:
            self._cull(self._alias, cursor, timezone.now().replace(microsecond=0), number)  # type: ignore[attr-defined]

    def _expires(self, timeout: float | None) -> Any:
        seconds = self.get_backend_timeout(timeout)
        return self._adapted(
            datetime.max.replace(tzinfo=UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
        )

    def _adapted(self, instant: datetime) -> Any:
        """An instant as the column has it, without fractions of a second, as in all of Django's statements."""
        return connections[self._alias].ops.adapt_datetimefield_value(instant.replace(microsecond=0))

    @property
    def _name(self) -> str:
        return connections[self._alias].ops.quote_name(self.cache_model_class._meta.db_table)

    @property
    def _alias(self) -> str:
        return router.db_for_write(self.cache_model_class)


_UNREADABLE = object()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNREADABLE
