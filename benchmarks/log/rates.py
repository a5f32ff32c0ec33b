"""`make bench-log`: appends, commands and reads, beside pyeventsourcing and the raw driver, and in a growing log.

One run for each engine, rounds in turns, medians. Every contender has a database of its own on one server (or a file),
every writer a process of its own with an open connection, and all sync every commit.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.log.contenders import Headrace, Pyeventsourcing, Raw, Tuned
from benchmarks.log.crowd import Crowd
from benchmarks.log.growth import grow
from tools import postgres

WRITERS, THREADS, SECONDS, READ = 8, 4, 0.5, 20_000
SHORT, LONG = 100, 10_000
CONTENDERS: dict[str, type[Any]] = {
    "Headrace": Headrace, "pyeventsourcing": Pyeventsourcing, "the same, tuned": Tuned, "raw driver": Raw,
}  # fmt: skip
# A trigger that fires as the transaction commits, with everything that it holds.
DELAY = """
CREATE FUNCTION bench_delay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER bench_delay AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION bench_delay();
ALTER TABLE {table} DISABLE TRIGGER bench_delay
"""

Row = Callable[[str], float]


class Engine:
    """SQLite files in a directory, or databases of a server there."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self.server = postgres.Server(directory / "postgres")
        self.base = self.server.start() if name == "postgres" else ""

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        if self.name == "sqlite":
            return f"sqlite:///{self.directory / name}.sqlite3"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self.base.removesuffix("postgres") + name

    def execute(self, database: str, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.base.removesuffix("postgres") + database, autocommit=True) as connection:
            connection.execute(statement)

    def end(self) -> None:
        if self.name == "postgres":
            self.server.remove()


@contextmanager
def contenders(engine: Engine) -> Iterator[dict[str, Crowd]]:
    crowds = {}
    for number, (name, kind) in enumerate(CONTENDERS.items()):
        url = engine.database(f"contender{number}")
        with prepared(Headrace if kind is Raw else kind, url):
            if kind is Raw and engine.name == "sqlite":
                unguard(url)
            crowds[name] = Crowd(kind, url, WRITERS)
        if engine.name == "postgres":
            engine.execute(f"contender{number}", DELAY.format(table=kind.table))
    yield crowds
    for crowd in crowds.values():
        crowd.end()


@contextmanager
def prepared(kind: type[Any], url: str) -> Iterator[None]:
    """One process makes the tables of a contender before the others start."""
    crowd = Crowd(kind, url, 1)
    crowd.ask("prepare")
    yield
    crowd.end()


def unguard(url: str) -> None:
    import sqlite3

    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("DROP TRIGGER eventlog_event_next_only")


def rows(engine: Engine, crowds: dict[str, Crowd]) -> dict[str, Row]:
    streams = {(name, size): crowd.ask("open", size)[0] for name, crowd in crowds.items() for size in (SHORT, LONG)}
    for crowd in crowds.values():
        crowd.ask("open", READ)

    def slowly(name: str, writers: int) -> float:
        number = list(CONTENDERS).index(name)
        table = f"ALTER TABLE {CONTENDERS[name].table}"
        engine.execute(f"contender{number}", f"{table} ENABLE TRIGGER bench_delay")
        try:
            return crowds[name].rate("appends", SECONDS, 1, members=writers)
        finally:
            engine.execute(f"contender{number}", f"{table} DISABLE TRIGGER bench_delay")

    table: dict[str, Row] = {
        "append, 1 writer": lambda name: crowds[name].rate("appends", SECONDS, 1),
        f"append, {WRITERS} writers": lambda name: crowds[name].rate("appends", SECONDS, 1, members=WRITERS),
        f"append, {THREADS} threads of one process": lambda name: crowds[name].rate(
            "appends_of_threads", SECONDS, THREADS
        ),
        "append 100 at a time": lambda name: crowds[name].rate("appends", SECONDS, 100),
        f"command, {SHORT} events": lambda name: crowds[name].rate("commands", SECONDS, streams[name, SHORT]),
        f"command, {LONG:,} events": lambda name: crowds[name].rate("commands", SECONDS, streams[name, LONG]),
        "read all": lambda name: crowds[name].rate("reads", READ),
    }
    if engine.name == "postgres":
        table["append, 1 writer, commits of 2 ms"] = lambda name: slowly(name, 1)
        table[f"append, {WRITERS} writers, commits of 2 ms"] = lambda name: slowly(name, WRITERS)
    return table


def measure(table: dict[str, Row], rounds: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {row: {name: [] for name in CONTENDERS} for row in table}
    for _ in range(rounds):
        for row, rate in table.items():
            for name in CONTENDERS:
                found[row][name].append(rate(name))
    return {row: {name: statistics.median(rates) for name, rates in of.items()} for row, of in found.items()}


def report(engine: str, found: dict[str, dict[str, float]]) -> None:
    print(f"\n{engine}, a second\n")
    print(f"| | {' | '.join(CONTENDERS)} | times pyeventsourcing | of the raw driver |")
    print("| --- |" + " ---: |" * (len(CONTENDERS) + 2))
    for row, rates in found.items():
        ours, theirs, _, raw = rates.values()
        figures = " | ".join(f"{rate:,.0f}" for rate in rates.values())
        print(f"| {row} | {figures} | {ours / theirs:.1f} | {ours / raw:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--events", type=int, nargs="*", default=[10_000, 1_000_000], help="sizes of the growing log")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        os.environ["DATA_DIR"] = directory
        engine = Engine(given.db, Path(directory))
        try:
            with contenders(engine) as crowds:
                report(given.db, measure(rows(engine, crowds), given.rounds))
            grow(engine, given.events, given.rounds)
        finally:
            engine.end()


if __name__ == "__main__":
    main()
