"""Compare read models with the log, without changing either."""

from collections.abc import Iterator
from typing import Any

import msgspec
from django.conf import settings
from django.db import connections, transaction
from django.db.models import Model

from apps.eventlog import checkpoints, delivery
from apps.eventlog.projectors import Projector
from apps.eventlog.rebuild import beside
from apps.eventlog.replay import BATCH, Progress
from apps.eventlog.shadow import Shadow

MISSING = "(no such row)"


class Difference(msgspec.Struct, frozen=True):
    """One field of one row: what the table holds and what the log says. `field` is "" for a whole row."""

    projector: str
    table: str
    key: str
    field: str
    live: Any
    log: Any


def verify(kind: type[Projector], *, batch: int = BATCH, progress: Progress = lambda events: None) -> list[Difference]:
    """Rebuild beside the live tables and compare; returns every difference.

    The tables are compared by the database; the rows that differ are looked at once more with
    the projector's checkpoint held, so that live delivery makes no false alarm.
    """
    checkpoints.enter(kind.service)
    place = checkpoints.places(kind.service)[kind.name]
    with beside(kind, batch, progress) as (replay, shadows):
        replay.fill(place)
        replay.drain(place)
        suspects = [_differing(live, shadow) for live, shadow in zip(kind.models, shadows, strict=True)]
        if not any(suspects):
            return []
        with transaction.atomic(using=kind.service):
            row = checkpoints.checkpoint_model(kind.service).objects.select_for_update().get(name=kind.name)
            replay.drain(row.position)
            found = [
                difference
                for live, shadow, keys in zip(kind.models, shadows, suspects, strict=True)
                for difference in _compare(kind.name, live, shadow.model, keys)
            ]
    if settings.PROJECTIONS == "inline":
        delivery.catch_up(kind.service)  # requests that found the checkpoint held have left it this
    return found


def _differing(live: type[Model], shadow: Shadow) -> list[Any]:
    """The keys of rows that are not the same in both tables."""
    columns = ", ".join(f'"{field.column}"' for field in live._meta.concrete_fields)
    one = f'SELECT {columns} FROM "{live._meta.db_table}"'  # noqa: S608
    other = f'SELECT {columns} FROM "{shadow.name}"'  # noqa: S608
    key, pk = live._meta.pk.column, live._meta.pk
    with connections[live._meta.app_label].cursor() as cursor:
        cursor.execute(
            f'SELECT "{key}" FROM ({one} EXCEPT {other}) a UNION SELECT "{key}" FROM ({other} EXCEPT {one}) b'  # noqa: S608
        )
        return sorted(pk.to_python(value) for (value,) in cursor.fetchall())


def _compare(name: str, live: type[Model], log: type[Model], keys: list[Any]) -> Iterator[Difference]:
    table = live._meta.db_table
    rows, truth = live._default_manager.in_bulk(keys), log._default_manager.in_bulk(keys)
    for key in keys:
        if key not in rows or key not in truth:
            found = ["" if key in each else MISSING for each in (rows, truth)]
            if found != [MISSING, MISSING]:
                yield Difference(name, table, str(key), "", *found)
            continue
        for field in live._meta.concrete_fields:
            one, other = getattr(rows[key], field.attname), getattr(truth[key], field.attname)
            if one != other:
                yield Difference(name, table, str(key), field.name, one, other)
