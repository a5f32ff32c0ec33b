"""The same appends and reads in logs of different sizes: does a long log cost more?"""

import random
import sqlite3
import statistics
from typing import Any
from uuid import UUID

from benchmarks.log.contenders import METADATA, NOTE, Headrace
from benchmarks.log.crowd import Crowd

SECONDS, WRITERS = 0.5, 8
EACH = 10  # events a stream
SAMPLE = 1000  # streams to read from
DATA, ABOUT = f'{{"amount": 1, "note": "{NOTE}"}}', str(METADATA).replace("'", '"')
COLUMNS = "event_id, stream, stream_version, category, type, schema_version, data, metadata, recorded_at"
# Ids spread over the index, as random ones would be, and known without asking: see `stream_id`.
POSTGRESQL = """
INSERT INTO eventlog_event ({columns})
SELECT gen_random_uuid(),
       'account-' || lpad(to_hex(n / {each} * 2654435761 % 4294967296), 8, '0') || '-0000-4000-8000-'
                  || lpad(to_hex(n / {each}), 12, '0'),
       n % {each} + 1, 'account', 'account.Deposited', 1, '{data}', '{about}', now()
FROM generate_series(0, {last}::bigint) n ORDER BY n
"""
SQLITE = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
INSERT INTO eventlog_event (position, {columns})
SELECT n + 1, lower(hex(randomblob(16))),
       printf('account-%08x-0000-4000-8000-%012x', n / {each} * 2654435761 % 4294967296, n / {each}),
       n % {each} + 1, 'account', 'account.Deposited', 1, '{data}', '{about}', strftime('%Y-%m-%d %H:%M:%f000', 'now')
FROM numbers
"""


def stream_id(number: int) -> UUID:
    """The id of the stream with this number, as the fill made it."""
    return UUID(f"{number * 2654435761 % 4294967296:08x}-0000-4000-8000-{number:012x}")


def grow(engine: Any, sizes: list[int], rounds: int) -> None:
    """Fill a log for each size, then measure them in turns and print the medians."""
    if not sizes:
        return
    crowds = {size: _filled(engine, size) for size in sizes}
    ids = {size: [stream_id(n) for n in random.Random(1).choices(range(size // EACH), k=SAMPLE)] for size in sizes}
    table = {
        "append, 1 writer": lambda size: crowds[size].rate("appends", SECONDS, 1),
        f"append, {WRITERS} writers": lambda size: crowds[size].rate("appends", SECONDS, 1, members=WRITERS),
        f"read a stream of {EACH}": lambda size: crowds[size].rate("point_reads", SECONDS, ids[size]),
    }
    found: dict[str, dict[int, list[float]]] = {row: {size: [] for size in sizes} for row in table}
    for _ in range(rounds + 1):  # the first, with cold caches, does not count
        for row, rate in table.items():
            for size in sizes:
                found[row][size].append(rate(size))
    for crowd in crowds.values():
        crowd.end()
    _report(
        engine.name, sizes, {row: {size: statistics.median(of[size][1:]) for size in of} for row, of in found.items()}
    )


def _filled(engine: Any, size: int) -> Crowd:
    url = engine.database(f"grown{size}")
    crowd = Crowd(Headrace, url, WRITERS)
    crowd.ask("prepare")
    given = {"columns": COLUMNS, "each": EACH, "last": size - 1, "data": DATA, "about": ABOUT}
    if engine.name == "postgres":
        engine.execute(f"grown{size}", POSTGRESQL.format(**given))
        engine.execute(f"grown{size}", "VACUUM ANALYZE eventlog_event")
        return crowd
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        [(guard,)] = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'eventlog_event_next_only'")
        connection.execute("DROP TRIGGER eventlog_event_next_only")
        connection.execute(SQLITE.format(**given))
        connection.execute(guard)
    return crowd


def _report(engine: str, sizes: list[int], found: dict[str, dict[int, float]]) -> None:
    print(f"\n{engine}, a second, in a log of so many events\n")
    print(f"| | {' | '.join(f'{size:,}' for size in sizes)} | largest of smallest |")
    print("| --- |" + " ---: |" * (len(sizes) + 1))
    for row, rates in found.items():
        figures = " | ".join(f"{rates[size]:,.0f}" for size in sizes)
        print(f"| {row} | {figures} | {rates[sizes[-1]] / rates[sizes[0]]:.2f} |")
