"""What an operator sees: the log, all readers, jobs, and what sends events out; from every database in time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from apps.eventlog.log.records import MarkHolder
from apps.eventlog.monitoring.asking import Asking
from apps.eventlog.read import progress, replicas
from apps.eventlog.read.log_state import LogState, log_state
from apps.eventlog.read.progress import Progress
from apps.eventlog.read.readers import Reader, sources
from apps.eventlog.relay.heartbeats import relays
from apps.eventlog.relay.webhooks import progress as webhooks
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.eventlog.replay import jobs

PATIENCE = 1.0  # seconds for which a database is waited for; the log is asked twice
HELD = 5.0  # seconds; an append that is open for longer is not at work, but stuck
LOG, PROGRESS, RELAYS = "the log", "the progress of readers", "the relays"
WEBHOOKS, JOBS = "the webhooks", "the record of jobs"

_asking = Asking()


class Overview(NamedTuple):
    """`log` is None if the log is away; `away` names what did not answer. Progress is the log's to say.

    `relays` and `webhooks` are what sends events out, and `replicas` where queries read, as the API shows them.
    `jobs` are what became of the last rebuild or check of each projector, if it did not succeed.
    """

    log: LogState | None
    readers: list[tuple[Reader, Progress | None]]
    away: list[str]
    relays: Sequence[dict[str, Any]] = ()
    webhooks: Sequence[dict[str, Any]] = ()
    jobs: Sequence[tuple[str, str]] = ()
    replicas: Sequence[dict[str, Any]] = ()


def overview() -> Overview:
    """Asks everything that is asked for, and takes at most twice PATIENCE."""
    every: dict[str, Callable[[], list[Reader]]] = {**sources(), **replicas.sources()}
    questions: dict[str, Callable[[], Any]] = {LOG: log_state, **every}
    questions |= {RELAYS: relays, WEBHOOKS: all_webhooks, JOBS: jobs.complaints}
    answers = _asking.answers(questions, PATIENCE)
    found: dict[tuple[str, str], Reader] = {each.key: each for name in every for each in answers.get(name, [])}
    known: dict[tuple[str, str], Progress] = {}
    if LOG in answers:
        asked = _asking.answers({PROGRESS: lambda: progress.of_readers(found.values())}, PATIENCE)
        known = asked.get(PROGRESS, {})
    away = [name for name in questions if name not in answers]
    seen = [(reader, known.get(key)) for key, reader in found.items() if reader.kind != replicas.KIND]
    out, hooks, complaints = (answers.get(name, []) for name in (RELAYS, WEBHOOKS, JOBS))
    return Overview(answers.get(LOG), seen, away, out, hooks, complaints, replicas.documents(found, known))


def all_webhooks() -> list[dict[str, Any]]:
    """Each endpoint with how far it is. Asks the log too."""
    return webhooks.documents(list(Endpoint.objects.all()))


def senders(seen: Overview) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """What sends events out, each with what stands for its service and its name: relays, and webhooks in use."""
    for relay in seen.relays:
        yield ("relay", relay["name"]), relay
    for webhook in seen.webhooks:
        if webhook["active"]:
            yield ("webhooks", str(webhook["id"])), webhook


def held(log: LogState | None) -> list[MarkHolder]:
    """Who has held an in-flight mark for long; no reader passes the position of the first."""
    return [mark for mark in log.marks if mark.seconds >= HELD] if log else []
