"""`make bench-personal`: what the encryption of personal fields costs an append and a rebuild.

Appends: one process, one event an append, plain and with two personal fields, in turns. Rebuilds: two logs of the
same users, one with personal fields encrypted, one with them as text, each in processes of its own, in turns.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from benchmarks.site import ROOT
from tools import postgres

EACH, BATCH, SECONDS, KNOWN = 10, 2000, 1.0, 20_000


def appends(rounds: int) -> dict[str, float]:
    """Appends a second of each kind, medians of the rounds."""
    from apps.eventlog import store
    from apps.eventlog.encryption import data_keys
    from apps.eventlog.events import DomainEvent
    from benchmarks.personal.notes import Noted, NotedPrivately

    def rate(kind: Callable[[str, str], DomainEvent], persons: Callable[[], UUID]) -> float:
        count, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < SECONDS:
            stream = f"note-{persons()}"
            seen = versions.get(stream, 0)
            for _ in range(EACH):
                seen = store.append(stream, [kind("Ann Example", "ann@example.org")], expected_version=seen).version
            versions[stream] = seen
            count += EACH
        return count / passed

    versions: dict[str, int] = {}
    known = [uuid4() for _ in range(KNOWN)]
    data_keys.find_or_make(known, lambda _: False)
    kinds = {
        "plain": (Noted, uuid4),
        "personal, of a known person": (NotedPrivately, lambda: random.choice(known)),
        f"personal, of a new person every {EACH} events": (NotedPrivately, uuid4),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (kind, persons) in kinds.items():
            found[name].append(rate(kind, persons))
    return {name: statistics.median(rates) for name, rates in found.items()}


def histories(users: int) -> Iterator[tuple[str, list[Any]]]:
    """Users that register and are renamed again and again."""
    from apps.users.events import UserRegistered, UserRenamed

    for number in range(users):
        renamed = [UserRenamed(f"Ann Example the {nth}.") for nth in range(EACH - 1)]
        yield f"user-{uuid4()}", [UserRegistered(f"ann{number}@example.org", "Ann Example"), *renamed]


def fill(events: int, *, encrypted: bool) -> None:
    from apps.eventlog.delivery import projecting
    from apps.eventlog.encryption import personal_fields
    from tests.support.exported import import_documents

    position, batch = 0, []
    for stream, history in histories(events // EACH):
        documents: list[dict[str, Any]] = [
            {"event_id": uuid4(), "type": event.type, "schema_version": 1, "data": event.payload()} for event in history
        ]
        if encrypted:
            personal_fields.conceal(stream, documents, lambda _: False)
        for version, document in enumerate(documents, start=1):
            position += 1
            about = {"position": position, "stream": stream, "stream_version": version, "metadata": {}}
            batch.append(document | about | {"recorded_at": datetime.now(UTC)})
        if len(batch) >= BATCH:
            import_documents(batch)
            batch = []
    import_documents(batch)
    projecting.catch_up("users")


def rebuilt() -> float:
    """Events a second of one rebuild of the users."""
    from apps.eventlog.replay.rebuild import rebuild
    from apps.users.read.projectors import UserProjector

    began = time.perf_counter()
    return rebuild(UserProjector) / (time.perf_counter() - began)


def child(environment: dict[str, str], *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.personal.encryption", *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout


def deployments(directory: Path, server: postgres.Server | None) -> dict[str, dict[str, str]]:
    """The environments of two deployments, by the kind of log they get."""
    found = {}
    for kind in ("plain", "personal"):
        urls = postgres.databases(server.start(), prefix=kind) if server else {}
        settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DEBUG": "off"}
        found[kind] = os.environ | settings | {"DATA_DIR": str(directory / kind)} | urls
    return found


def compare(environments: dict[str, dict[str, str]], events: int, rounds: int) -> None:
    for kind, environment in environments.items():
        child(environment, "--child", "fill", "--events", str(events), *(["--encrypted"] if kind == "personal" else []))
    rates: dict[str, list[float]] = {kind: [] for kind in environments}
    for _ in range(rounds):
        for kind, environment in environments.items():
            rates[kind].append(float(child(environment, "--child", "rebuild")))
    report("rebuild of the users", {kind: statistics.median(found) for kind, found in rates.items()})
    found = dict(line.rsplit(":", 1) for line in child(environments["personal"], "--child", "append").splitlines())
    report("append", {name: float(rate) for name, rate in found.items()})


def report(what: str, rates: dict[str, float]) -> None:
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"| {what}: {name} | {rate:,.0f} | {rate / first:.2f} |")


def run_child(given: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    if given.child == "fill":
        call_command("migrate", verbosity=0)
        fill(given.events, encrypted=given.encrypted)
    elif given.child == "rebuild":
        print(rebuilt())
    else:
        for name, rate in appends(given.rounds).items():
            print(f"{name}:{rate}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--child", choices=["fill", "rebuild", "append"], help=argparse.SUPPRESS)
    parser.add_argument("--encrypted", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        run_child(given)
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        server = postgres.Server(Path(directory, "postgres")) if given.db == "postgres" else None
        try:
            print(f"\n| {given.db}, {given.events:,} events | a second | of plain |\n| --- | ---: | ---: |")
            compare(deployments(Path(directory), server), given.events, given.rounds)
        finally:
            if server:
                server.remove()


if __name__ == "__main__":
    main()
