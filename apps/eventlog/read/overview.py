"""What an operator sees: the log and all readers, from every database that answers in time, and what is wrong now."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from apps.eventlog.monitoring.asking import Asking
from apps.eventlog.read import progress
from apps.eventlog.read.log_state import LogState, log_state
from apps.eventlog.read.progress import Progress
from apps.eventlog.read.readers import Reader, sources

PATIENCE = 1.0  # seconds for which a database is waited for; the log is asked twice
LATE = 60.0  # seconds that an event may wait for a reader before that is said to be wrong
HELD = 10.0  # seconds that an in-flight mark may stand
UNSEALED = 600.0  # seconds without a new seal, if there are events for one
LOG, PROGRESS = "the log", "the progress of readers"

_asking = Asking()


class Overview(NamedTuple):
    """`log` is None if the log is away; `away` names what did not answer. Progress is the log's to say."""

    log: LogState | None
    readers: list[tuple[Reader, Progress | None]]
    away: list[str]


def overview() -> Overview:
    """Asks everything that is asked for, and takes at most twice PATIENCE."""
    questions: dict[str, Callable[[], Any]] = {LOG: log_state, **sources()}
    answers = _asking.answers(questions, PATIENCE)
    readers: list[Reader] = [reader for name in sources() for reader in answers.get(name, [])]
    known: dict[tuple[str, str], Progress] = {}
    if LOG in answers:
        asked = _asking.answers({PROGRESS: lambda: progress.of_readers(readers)}, PATIENCE)
        known = asked.get(PROGRESS, {})
    away = [name for name in questions if name not in answers]
    return Overview(answers.get(LOG), [(reader, known.get(reader.key)) for reader in readers], away)


def wrong(seen: Overview) -> list[str]:
    """What is wrong now, the worst first, each in one sentence."""
    return [
        *[f"{name} does not answer" for name in seen.away],
        *[f"{each} has stopped: the log went back; replay_events repairs that" for each in _stopped(seen)],
        *_wrong_with_the_log(seen.log),
        *[f"{_named(each)} has {each.dead_letters} dead letters" for each, _ in seen.readers if each.dead_letters],
        *[
            f"{_named(each)} is late: {at.lag_events} events wait, the oldest for {at.lag_seconds:.0f} s"
            for each, at in seen.readers
            if at and at.lag_seconds > LATE
        ],
    ]


def _stopped(seen: Overview) -> list[str]:
    return [_named(each) for each, at in seen.readers if each.stopped or (at and at.went_back)]


def _named(reader: Reader) -> str:
    return f"{reader.name} of {reader.service}"


def _wrong_with_the_log(log: LogState | None) -> Iterator[str]:
    if log is None:
        return
    if log.seals_went_back:
        yield "the log went back: the seals are over events that it no longer has"
    if log.oldest_mark > HELD:
        yield f"an append holds all readers back at position {log.safe.position}, for {log.oldest_mark:.0f} s now"
    if 0 < log.sealed < log.safe.position and log.seal_age > UNSEALED:
        yield f"the log is sealed up to position {log.sealed} alone, for {log.seal_age:.0f} s now"
