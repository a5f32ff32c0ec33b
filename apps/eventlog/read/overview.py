"""What an operator sees: the log and all readers, from every database that answers in time, and what is wrong now."""

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

PATIENCE = 1.0  # seconds for which a database is waited for; the log is asked twice
LATE = 60.0  # seconds that an event may wait for a reader before that is said to be wrong
HELD = 5.0  # seconds; an append that is open for longer is not at work, but stuck
UNSEALED = 600.0  # seconds without a new seal, if there are events for one
LOG, PROGRESS, RELAYS, WEBHOOKS = "the log", "the progress of readers", "the relays", "the webhooks"

_asking = Asking()


class Overview(NamedTuple):
    """`log` is None if the log is away; `away` names what did not answer. Progress is the log's to say.

    `relays` and `webhooks` are what sends events out, and `replicas` where queries read, as the API shows them.
    """

    log: LogState | None
    readers: list[tuple[Reader, Progress | None]]
    away: list[str]
    relays: Sequence[dict[str, Any]] = ()
    webhooks: Sequence[dict[str, Any]] = ()
    replicas: Sequence[dict[str, Any]] = ()


def overview() -> Overview:
    """Asks everything that is asked for, and takes at most twice PATIENCE."""
    every: dict[str, Callable[[], list[Reader]]] = {**sources(), **replicas.sources()}
    questions: dict[str, Callable[[], Any]] = {LOG: log_state, **every, RELAYS: relays, WEBHOOKS: _webhooks}
    answers = _asking.answers(questions, PATIENCE)
    found: dict[tuple[str, str], Reader] = {each.key: each for name in every for each in answers.get(name, [])}
    known: dict[tuple[str, str], Progress] = {}
    if LOG in answers:
        asked = _asking.answers({PROGRESS: lambda: progress.of_readers(found.values())}, PATIENCE)
        known = asked.get(PROGRESS, {})
    away = [name for name in questions if name not in answers]
    seen = [(reader, known.get(key)) for key, reader in found.items() if reader.kind != replicas.KIND]
    copies = replicas.documents(found, known)
    return Overview(answers.get(LOG), seen, away, answers.get(RELAYS, []), answers.get(WEBHOOKS, []), copies)


def _webhooks() -> list[dict[str, Any]]:
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


def wrong(seen: Overview) -> list[str]:
    """What is wrong now, the worst first, each in one sentence."""
    return [
        *[f"{name} does not answer" for name in seen.away],
        *[f"{each} has stopped: the log went back; replay_events repairs that" for each in _stopped(seen)],
        *_wrong_with_the_log(seen.log),
        *[f"{_named(each)} has {each.dead_letters} dead letters" for each, _ in seen.readers if each.dead_letters],
        *_wrong_with_senders(seen),
        *_wrong_with_replicas(seen),
        *[
            _late(_named(each), at.lag_events, at.lag_seconds)
            for each, at in seen.readers
            if at and at.lag_seconds > LATE
        ],
    ]


def _late(who: str, events: int, seconds: float) -> str:
    return f"{who} is late: {events} events wait, the oldest for {seconds:.0f} s"


def _stopped(seen: Overview) -> list[str]:
    readers = [_named(each) for each, at in seen.readers if each.stopped or (at and at.went_back)]
    return readers + [f"webhook {each['id']}" for each in seen.webhooks if each["active"] and each["log_went_back"]]


def _named(reader: Reader) -> str:
    return f"{reader.name} of {reader.service}"


def _wrong_with_the_log(log: LogState | None) -> Iterator[str]:
    if log is None:
        return
    if log.seals_went_back:
        yield "the log went back: the seals are over events that it no longer has"
    for mark in held(log):
        yield f"an open append holds all readers back at position {mark.position}, for {mark.seconds:.0f} s now"
    if 0 < log.sealed < log.safe.position and log.seal_age > UNSEALED:
        yield f"the log is sealed up to position {log.sealed} alone, for {log.seal_age:.0f} s now"


def _wrong_with_replicas(seen: Overview) -> Iterator[str]:
    for each in seen.replicas:
        who = replicas.named(each["service"])
        if each["log_went_back"]:
            yield f"{who} shows events that are not in the log"
        if each["lag_seconds"] and each["lag_seconds"] > LATE:
            yield _late(who, each["lag_events"], each["lag_seconds"])


def _wrong_with_senders(seen: Overview) -> Iterator[str]:
    for (service, name), each in senders(seen):
        if each.get("dead_letters"):
            yield f"{name} of {service} has {each['dead_letters']} dead letters"
        if error := each.get("error"):
            yield f"{name} of {service} cannot send: {error}"
        if service == "relay" and each["log_went_back"]:
            yield f"{name} of {service} has sent events that are not in the log"
        if each["lag_seconds"] > LATE:
            yield _late(f"{name} of {service}", each["lag_events"], each["lag_seconds"])
