"""The log and its seals, as an operator wants to see them."""

from dataclasses import dataclass

from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.log.engine import engine
from apps.eventlog.sealing import seals


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log ends, which log it is (its `first` event), and how far it is sealed.

    `oldest_mark` is for how many seconds the oldest in-flight mark has held readers back. `seal_age` is in seconds: of
    the last seal, or if there is none, of the first event.
    """

    head: int
    safe: Place
    first: Place
    oldest_mark: float
    sealed: int
    seal_age: float
    seals_went_back: bool


def log_state() -> LogState:
    """Asks the log alone."""
    first = places.first_place()
    sealed_at = seals.sealed_at() or places.waiting_since(0, [("", "")])
    return LogState(
        head=store.head(),
        safe=store.safe_place(),
        first=first,
        oldest_mark=engine().oldest_mark(),
        sealed=seals.last_position(),
        seal_age=max(0.0, (timezone.now() - sealed_at).total_seconds()) if sealed_at else 0.0,
        seals_went_back=seals.went_back(),
    )
