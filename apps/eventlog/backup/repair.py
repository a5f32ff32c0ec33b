"""After the databases were replaced: bring them together, and say what that took."""

from collections.abc import Iterator
from typing import NamedTuple

from django.core.management import call_command

from apps.eventlog import projectors, reservations, store
from apps.eventlog.backup.erased_since import carry_over
from apps.eventlog.backup.manifest import Manifest
from apps.eventlog.delivery import identity, projecting, reacting
from apps.eventlog.failpoints import failpoint
from apps.eventlog.log import places
from apps.eventlog.privacy import undone_erasures
from apps.eventlog.privacy.verify_keys import verify_keys
from apps.eventlog.processing import running
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor
from apps.eventlog.replay.rebuild import WouldSetAside, rebuild
from apps.eventlog.sealing import seals


class NotAsWritten(Exception):
    """The restored log is not the one that the manifest names."""


class Done(NamedTuple):
    """What was done or found; `wrong` if an operator must see to it."""

    what: str
    wrong: bool = False


def repair(manifest: Manifest, erasures: list[str], *, of_log: bool) -> Iterator[Done]:
    """Bring the restored databases together; gives what was done and what was found, as it happens.

    `erasures` are those that happened after the backup was taken. `of_log` says that the log itself was restored. Safe
    to repeat after an interruption. Raises `NotAsWritten`, `AlreadyRunning` and `TableInUse`.
    """
    call_command("migrate", verbosity=0)
    if of_log and not places.has(manifest.place):
        raise NotAsWritten(f"the restored log has no event {manifest.event_id} at position {manifest.position}")
    failpoint("repairing")
    if carried := carry_over(erasures):
        yield Done(f"{carried} people were erased after the backup was taken, and are erased again")
    if undone := undone_erasures.reapply():
        yield Done(f"{undone} erasures that the data keys did not show were carried out again")
    yield from _reserve()
    yield from _follow()
    report = verify_keys(lambda events: None)
    for found, what in (
        (report.missing, "are missing"),
        (report.untold, "were destroyed, and the log does not say why"),
    ):
        if found.number:
            yield Done(f"{found.number} data keys {what}: see verify_keys", wrong=True)
    if seals.went_back():
        yield Done("the seals are over events that the log does not have: see verify_log", wrong=True)


def _reserve() -> Iterator[Done]:
    try:
        unreadable = reservations.rebuild()
    except reservations.Clash as clash:
        yield Done(f"{clash}: deactivate or change one of them, then run rebuild_reservations", wrong=True)
        return
    if unreadable:
        yield Done(f"what {len(unreadable)} streams hold cannot be read: see verify_keys", wrong=True)
    yield Done("the reservations are as the log says")


def _follow() -> Iterator[Done]:
    """Rows that show another log are rebuilt, the others follow it; reactors and processes go on where they must."""
    services = sorted({*projectors.services(), *(kind.service for kind in Reactor.registry.values())})
    for service in services:
        yield from _rebuild(service)
    before = store.safe_position()
    for service in services:
        rewound = reacting.rewind(service)
        yield from (Done(f"{name} goes on from the last place that it and the log share") for name in rewound)
    running.repair()
    for _ in range(2 + len(services)):  # a reaction may append events, and these may cause the next reaction
        for service in services:
            projecting.catch_up(service)
            reacting.catch_up(service)
        running.run()
    caused = store.safe_position() > before
    yield Done(f"the rows follow the log{', and reactors and processes appended to it' if caused else ''}")


def _rebuild(service: str) -> Iterator[Done]:
    for name in identity.went_back(service):
        if (kind := Projector.registry.get(name)) is not None:
            try:
                yield Done(f"{name} showed another log: rebuilt from {rebuild(kind)} events")
            except WouldSetAside as error:
                yield Done(str(error), wrong=True)
