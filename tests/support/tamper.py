"""Change the log as somebody with the database password would: past its guards, and past the application."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from apps.eventlog.models import Seal, StoredEvent
from apps.eventlog.sealing import seals
from tests.support.exported import import_documents

COLUMNS = [field.attname for field in StoredEvent._meta.concrete_fields]


def fill(events: int = 240, streams: int = 12) -> list[int]:
    """A log with positions that no event took, as rolled-back appends leave them; returns the positions."""
    chance = random.Random(7)
    versions, positions, documents = [0] * streams, [0], []
    for _ in range(events):
        positions.append(positions[-1] + (1 if chance.random() < 0.9 else chance.randint(2, 4)))
        number = chance.randrange(streams)
        versions[number] += 1
        data = {"n": positions[-1], "text": chance.choice(["é", "😀", "a\nb", ""]), "deep": {"big": 2**53, "f": 0.1}}
        documents.append(
            {
                "position": positions[-1],
                "event_id": UUID(int=chance.getrandbits(128)),
                "stream": f"thing-{number}",
                "stream_version": versions[number],
                "type": "eventlog.Counted",
                "schema_version": 1,
                "data": data,
                "metadata": {"actor": "me", "correlation_id": str(UUID(int=chance.getrandbits(128)))},
                "recorded_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=positions[-1]),
            }
        )
    import_documents(documents)
    return positions[1:]


def seal_all() -> None:
    while seals.seal_next():
        pass


@contextmanager
def unguarded() -> Iterator[None]:
    """The guards of the log are lifted inside, and whatever was done there is undone behind it."""
    with transaction.atomic(using="eventlog"):
        with connections["eventlog"].cursor() as cursor:
            if connections["eventlog"].vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = replica")
            else:
                for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                    cursor.execute(f"DROP TRIGGER {name}")
        yield
        transaction.set_rollback(True, using="eventlog")


def rows(**where: Any) -> list[StoredEvent]:
    return list(StoredEvent.objects.filter(**where).order_by("position"))


def insert(row: StoredEvent, position: int) -> None:
    """Write an event at a position of one's choice."""
    row.position = position
    fields = StoredEvent._meta.concrete_fields
    values = [field.get_db_prep_save(getattr(row, field.attname), connections["eventlog"]) for field in fields]
    chosen = "OVERRIDING SYSTEM VALUE" if connections["eventlog"].vendor == "postgresql" else ""
    marks = ", ".join(["%s"] * len(COLUMNS))
    with connections["eventlog"].cursor() as cursor:
        cursor.execute(f"INSERT INTO eventlog_event ({', '.join(COLUMNS)}) {chosen} VALUES ({marks})", values)


def edit(chance: random.Random, positions: list[int]) -> int:
    """Change one column of one event by as little as may be."""
    row = chance.choice(rows(position__in=positions))
    column = chance.choice([name for name in COLUMNS if name != "position"])
    changed: dict[str, Callable[[], Any]] = {
        "event_id": lambda: UUID(int=row.event_id.int ^ 1),
        "stream": lambda: f"{row.stream}0{row.position}",
        "stream_version": lambda: row.stream_version + 1000,
        "category": lambda: "thin",
        "type": lambda: f"{row.type} ",
        "schema_version": lambda: row.schema_version + 1,
        "data": lambda: row.data | chance.choice(EDITS),
        "metadata": lambda: row.metadata | {"actor": "you"},
        "correlation_id": lambda: None,
        "recorded_at": lambda: row.recorded_at + timedelta(microseconds=chance.choice([-1, 1])),
    }
    StoredEvent.objects.filter(pk=row.pk).update(**{column: changed[column]()})
    return row.position


EDITS: list[dict[str, Any]] = [
    {"deep": {"big": 2**53 + 1, "f": 0.1}},
    {"deep": {"big": 2**53, "f": 0.10000000000000002}},
    {"deep": {"big": str(2**53), "f": 0.1}},
    {"text": "e\u0301"},
    {"more": None},
    {"n": True},
]


def delete(chance: random.Random, positions: list[int]) -> int:
    position = chance.choice(positions)
    StoredEvent.objects.filter(pk=position).delete()
    return position


def insert_in_gap(chance: random.Random, positions: list[int]) -> int:
    """An event of a stream of its own, in a place that a rolled-back append had left."""
    position = chance.choice(sorted(set(range(1, positions[-1])) - set(positions)))
    forged(chance, position)
    return position


def insert_and_shift(chance: random.Random, positions: list[int]) -> int:
    """An event between others: the later ones move up by one."""
    position = chance.choice(positions)
    later = rows(position__gte=position)
    StoredEvent.objects.filter(position__gte=position).delete()
    forged(chance, position)
    for row in later:
        insert(row, row.position + 1)
    return position


def forged(chance: random.Random, position: int) -> None:
    row = rows()[0]
    row.event_id, row.stream, row.stream_version = UUID(int=chance.getrandbits(128)), f"forged-{position}", 1
    row.category = "forged"
    insert(row, position)


def swap(chance: random.Random, positions: list[int]) -> int:
    one, other = rows(position__in=chance.sample(positions, 2))
    low, high = one.position, other.position
    StoredEvent.objects.filter(position__in=[low, high]).delete()
    insert(other, low)
    insert(one, high)
    return low


def truncate(chance: random.Random, positions: list[int]) -> int:
    """The tail goes, and so does every seal that knows of it."""
    position = chance.choice(positions)
    StoredEvent.objects.filter(position__gte=position).delete()
    Seal.objects.filter(until__gte=position).delete()
    return position


KINDS = [edit, edit, edit, delete, insert_in_gap, insert_and_shift, swap, truncate]
