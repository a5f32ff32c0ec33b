"""The log, who holds it back, and its seals, as an operator wants to see them."""

from dataclasses import dataclass

from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.log import places
from apps.eventlog.log.engine import engine
from apps.eventlog.log.records import MarkHolder
from apps.eventlog.sealing import seals


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log ends, which log it is (its `first` event), and how far it is sealed.

    `marks` are the in-flight marks that readers wait for. `seal_age` is in seconds: of the last seal, or if there is
    none, of the first event.
    """

    head: int
    safe: Place
    first: Place
    marks: list[MarkHolder]
    sealed: int
    seal_age: float
    seals_went_back: bool

    @property
    def oldest_mark(self) -> float:
        """For how many seconds the oldest in-flight mark has held readers back; 0 if there is none."""
        return max((mark.seconds for mark in self.marks), default=0.0)


def log_state() -> LogState:
    """Asks the log alone."""
    first = places.first_place()
    sealed_at = seals.sealed_at() or places.waiting_since(0, [("", "")])
    return LogState(
        head=store.head(),
        safe=store.safe_place(),
        first=first,
        marks=engine().mark_holders(),
        sealed=seals.last_position(),
        seal_age=max(0.0, (timezone.now() - sealed_at).total_seconds()) if sealed_at else 0.0,
        seals_went_back=seals.went_back(),
    )
