"""The history checker: what clients and followers saw of a run, held against the log that it left.

`History` records; each check is one invariant and returns what it finds wrong, in words, so an empty
list is a pass. A check knows nothing of how Headrace works. `docs/reference/reliability.md` lists the invariants.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import msgspec

from apps.eventlog.events import DomainEvent, RecordedEvent

Log = Sequence[RecordedEvent]
Faults = list[str]
Result = Literal["ok", "fail", "unknown"]
Answer = tuple[str, int, int]  # stream, version, position


@dataclass
class Call:
    """One attempt to append; attempts that are the same request share a `key`.

    No two requests send the same event, so an event of the log can be told by its content. Instants
    are monotonic seconds. Without an answer the result is unknown: it may have taken effect or not.
    """

    key: str
    events: Sequence[DomainEvent]
    stream: str = ""
    expected_version: int | None = None
    sent: float = field(default_factory=time.monotonic)
    done: float = math.inf
    result: Result = "unknown"
    answer: Answer | None = None

    def end(self, result: Result, answer: Answer | None = None) -> None:
        self.result, self.answer, self.done = result, answer, time.monotonic()


@dataclass
class Query:
    """A document that was asked for as of a position: the version that came, 0 for none; a 503 is not one."""

    stream: str
    position: int
    version: int


@dataclass
class Place:
    """A checkpoint that was seen, and the safe position a moment later; `reset` where it was set back on purpose."""

    name: str
    position: int
    safe: int
    reset: bool = False


@dataclass
class History:
    """Everything that was seen. `followers` have one list of positions for each of their lives."""

    calls: list[Call] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    followers: dict[str, list[list[int]]] = field(default_factory=dict)
    prefixes: list[Log] = field(default_factory=list)

    def call(self, key: str, *events: DomainEvent, **more: Any) -> Call:
        """Note that a call is about to be sent; its `end` notes what came of it."""
        call = Call(key, events, **more)
        self.calls.append(call)
        return call

    def requests(self) -> dict[str, list[Call]]:
        attempts = defaultdict(list)
        for call in self.calls:
            attempts[call.key].append(call)
        return attempts


def result(attempts: Iterable[Call]) -> Result:
    """What is known of a request: one attempt that succeeded decides, then one that is unknown."""
    results = {call.result for call in attempts}
    return next((known for known in ("ok", "unknown", "fail") if known in results), "fail")  # type: ignore[return-value]


def by_content(log: Log) -> dict[bytes, list[RecordedEvent]]:
    found = defaultdict(list)
    for recorded in log:
        found[_content(recorded.type, recorded.data)].append(recorded)
    return found


def _content(type: str, data: Any) -> bytes:
    return msgspec.json.encode([type, data], order="deterministic")


def nothing_lost_doubled_or_invented(history: History, log: Log) -> Faults:
    """1. Acknowledged events are there once, refused ones not, unknown ones at most once, and no others."""
    found, faults, known = by_content(log), [], {str(recorded.event_id) for recorded in log}
    for key, attempts in history.requests().items():
        outcome = result(attempts)
        for event in attempts[0].events:
            times = len(found.pop(_content(event.type, event.payload()), []))
            if times > 1 or times < (outcome == "ok") or (times and outcome == "fail"):
                faults.append(f"{event.type} of {key}, which is {outcome}, is in the log {times} times")
    left = [recorded for several in found.values() for recorded in several]
    # A reactor's answer to an event is nobody's call.
    foreign = [recorded for recorded in left if recorded.metadata.get("causation_id") not in known]
    return faults + [f"nobody sent {recorded.type} at position {recorded.position}" for recorded in foreign]


def in_one_order(log: Log) -> Faults:
    """2. Positions rise; each stream's versions are 1, 2, 3 in that order, and its clock never goes back."""
    faults = [f"position {b.position} follows {a.position}" for a, b in pairwise(log) if a.position >= b.position]
    streams: dict[str, RecordedEvent] = {}
    for recorded in log:
        last = streams.get(recorded.stream)
        if recorded.stream_version != (last.stream_version if last else 0) + 1:
            faults.append(f"{recorded.stream} has version {recorded.stream_version} at {recorded.position}")
        if last and last.recorded_at > recorded.recorded_at:
            faults.append(f"the clock of {recorded.stream} goes back at {recorded.position}")
        streams[recorded.stream] = recorded
    return faults


def whole_and_in_time(history: History, log: Log) -> Faults:
    """3. A call's events are all there or none; what was acknowledged before a call was sent lies before it."""
    found, faults, spans = by_content(log), [], []
    for key, attempts in history.requests().items():
        there = [found[_content(e.type, e.payload())] for e in attempts[0].events]
        if any(there) and not all(there):
            faults.append(f"{key} is in the log in part")
        positions = [recorded.position for several in there for recorded in several]
        if positions:
            sent, done = min(call.sent for call in attempts), [call.done for call in attempts if call.result == "ok"]
            spans.append((sent, min(done, default=math.inf), min(positions), max(positions), key))
    ended, highest = sorted((done, last) for _, done, _, last, _ in spans), 0
    for sent, _, first, _, key in sorted(spans):
        while ended and ended[0][0] < sent:
            highest = max(highest, ended.pop(0)[1])
        if highest > first:
            faults.append(f"{key} has position {first}, though {highest} was acknowledged before it was sent")
    return faults


def one_winner(history: History, log: Log) -> Faults:
    """4. Of the calls that saw one version of a stream, at most one succeeds."""
    won = {(call.stream, call.expected_version, call.key) for call in history.calls if call.result == "ok"}
    wins = Counter((stream, version) for stream, version, _ in won if version is not None)
    return [f"{wins[seen]} calls won version {seen[1]} of {seen[0]}" for seen in wins if wins[seen] > 1]


def followed(history: History, log: Log) -> Faults:
    """5. Each follower saw the whole log in its order; it may see events again after a restart only."""
    faults, order = [], [recorded.position for recorded in log]
    for name, lives in history.followers.items():
        place = 0  # how many events of the log it has seen
        for life in filter(None, lives):
            start = order.index(life[0]) if life[0] in order else -1
            if not 0 <= start <= place:
                faults.append(f"{name} went on at {life[0]} after {order[place - 1] if place else 0}")
            if life != order[start : start + len(life)]:
                wrong = next(i for i, seen in enumerate(life) if order[start + i : start + i + 1] != [seen])
                faults.append(f"{name} saw {life[wrong]} after {life[wrong - 1] if wrong else 0}")
            place = max(place, start + len(life))
        if place < len(order):
            faults.append(f"{name} never saw {len(order) - place} events after {order[place - 1] if place else 0}")
    return faults


def places_hold(history: History, log: Log) -> Faults:
    """6. A checkpoint is never past the safe position and never goes back but by a reset."""
    faults, last = [], defaultdict(int)
    for place in history.places:
        if place.position > place.safe:
            faults.append(f"{place.name} is at {place.position}, past the safe position {place.safe}")
        if place.position < last[place.name] and not place.reset:
            faults.append(f"{place.name} went back from {last[place.name]} to {place.position}")
        last[place.name] = place.position
    return faults


def never_stale(history: History, log: Log) -> Faults:
    """10. A query as of a position shows at least what its stream was then."""
    versions = defaultdict(list)
    for recorded in log:
        versions[recorded.stream].append((recorded.position, recorded.stream_version))
    return [
        f"{query.stream} was shown at version {query.version} as of {query.position}, where it is at {due}"
        for query in history.queries
        if query.version < (due := max((v for p, v in versions[query.stream] if p <= query.position), default=0))
    ]


def one_answer(history: History, log: Log) -> Faults:
    """11. The same request gets the same answer, which names the event that it led to."""
    faults, versions = [], {(recorded.stream, recorded.stream_version): recorded.position for recorded in log}
    for key, attempts in history.requests().items():
        answers = {call.answer for call in attempts if call.answer}
        if len(answers) > 1:
            faults.append(f"{key} was answered {sorted(answers)}")
        faults += [f"{key} was answered {a}, which is not there" for a in answers if versions.get(a[:2]) != a[2]]
    return faults


NEXT = {"OrderPlaced": {""}, "OrderPaid": {"OrderPlaced"}, "OrderShipped": {"OrderPaid"}}
NEXT |= {"OrderDelivered": {"OrderShipped"}, "OrderCancelled": {"OrderPlaced", "OrderPaid"}}


def business_rules(log: Log) -> Faults:
    """12. No illegal transition of an order, and one active user an e-mail address."""
    faults, orders, emails, holders = [], defaultdict(str), {}, {}
    for recorded in log:
        stream, name = recorded.stream, recorded.type.partition(".")[2]
        if name in NEXT:
            if orders[stream] not in NEXT[name]:
                faults.append(f"{stream}: {name} after {orders[stream] or 'nothing'}")
            orders[stream] = name
        if name in ("UserEmailChanged", "UserDeactivated"):
            holders.pop(emails.get(stream), None)
        if name in ("UserRegistered", "UserEmailChanged", "UserReactivated"):
            email = emails[stream] = recorded.data.get("email", emails.get(stream))
            if holders.setdefault(email, stream) != stream:
                faults.append(f"{stream} has the address of {holders[email]}")
    return faults


def unchanged(history: History, log: Log) -> Faults:
    """12. What was in the log once stays there as it was; 9. and a replay adds nothing to it."""
    now = {recorded.position: recorded for recorded in log}
    changed = {old.position for prefix in history.prefixes for old in prefix if now.get(old.position) != old}
    return [f"the event at position {position} has changed" for position in sorted(changed)]


OF_HISTORY: list[Callable[[History, Log], Faults]] = [
    nothing_lost_doubled_or_invented, whole_and_in_time, one_winner, followed, places_hold, never_stale, one_answer,
    unchanged,
]  # fmt: skip


def faults(history: History, log: Log) -> Faults:
    """All that is wrong; rows are compared by `rows_differ`."""
    return [*in_one_order(log), *business_rules(log), *(f for check in OF_HISTORY for f in check(history, log))]


def rows_differ(fold: dict[str, dict[str, Any]], rows: dict[str, dict[str, Any]]) -> Faults:
    """7. and 8. The rows are what a plain fold of the log says: the rows of `tests.support.fold`, by table and key."""
    return [
        f"{table} {key}: {rows[table].get(key)} where the log says {fold[table].get(key)}"
        for table in fold
        for key in sorted(fold[table].keys() | rows[table].keys())
        if fold[table].get(key) != rows[table].get(key)
    ]
