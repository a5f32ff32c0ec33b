"""A courier follows the log for its endpoints, sends, and writes down what was taken.

All decisions and all queries are in one thread. Requests go out from the sender's event loop, and their answers come
back by a queue. Several couriers, in several processes, share the endpoints (see leases.py). After any error a courier
begins anew from what is written down, so at worst something is sent twice.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime

from django.db import Error, connections
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.events import Place
from apps.eventlog.failpoints import failpoint
from apps.eventlog.relay.webhooks import leases, messages, signatures
from apps.eventlog.relay.webhooks.held_streams import Held
from apps.eventlog.relay.webhooks.messages import Answer, Message, Parcel
from apps.eventlog.relay.webhooks.recipient import Recipient
from apps.eventlog.relay.webhooks.roster import HAND_OVER, LeaseLost, Roster
from apps.eventlog.relay.webhooks.sender import MOST_OPEN, Sender
from apps.eventlog.store import LogWentBack

logger = logging.getLogger(__name__)

TOGETHER = 0.002  # seconds within which answers are taken together: each turn looks at every endpoint
LOOK = (0.02, 0.1)  # seconds between two looks at the log: after an event, and after a long idle time
DUE = 0.05  # seconds between two looks for what is to be sent again
WRITE = 0.05  # seconds between two writes, so that many answers share one
REMEMBER = 10.0  # seconds between two places of a trail
PAGE = 50  # events that are read at once
RETRY = 1.0  # seconds until a database that failed is asked again


class Courier:
    """`run` delivers until it is told to stop; `drain` delivers what can be delivered now."""

    def __init__(self, sender: Sender) -> None:
        self.sender, self.roster = sender, Roster()
        self.safe = Place()
        self.unfinished: list[tuple[Recipient, Held]] = []  # held streams of which nobody knows yet what follows
        self._pause = LOOK[0]
        self._due_at: dict[str, float] = {}

    def turn(self) -> None:
        """Take what answers have come, or wait a little for one; then do whatever it is time for."""
        answers = self.sender.answers(self._pause, TOGETHER)
        now = timezone.now()
        for answer in answers:
            self._take(answer, now)
        self._go_on()
        if self._is_time("beat", leases.BEAT):
            self.roster.beat()
        if self._is_time("look", self._pause):
            self._look()
        self._read(now)
        if self.roster.lease.holds:
            self._send(now)
        self._write()

    def finish(self) -> None:
        """Wait for what is on its way, write it down, and leave the endpoints to others."""
        self.roster.leave_all()
        end = time.monotonic() + HAND_OVER
        while self.roster.recipients and time.monotonic() < end:
            self._due_at.pop("beat", None)
            self.turn()
        self.roster.end()

    def is_drained(self, now: datetime) -> bool:
        """Is there nothing that could be sent now?"""
        return not any(
            each.on_their_way
            or not (each.is_quiet(now) or (each.window.ahead == self.safe and each.is_idle))
            or next(each.due(now), None)
            for each in self.roster.recipients.values()
        )

    def _is_time(self, what: str, pause: float) -> bool:
        now = time.monotonic()
        if now < self._due_at.get(what, 0.0):
            return False
        self._due_at[what] = now + pause
        return True

    def _take(self, answer: Answer, now: datetime) -> None:
        recipient: Recipient = answer.key[0]
        stream: str = answer.key[1]
        if self.roster.recipients.get(recipient.endpoint.pk) is not recipient:
            return  # it is another courier's by now, or was read anew
        was_failing = recipient.endpoint.failing_since is not None
        recipient.take(stream, answer, now)
        _tell(recipient, was_failing=was_failing)
        held = recipient.held.get(stream)
        if held and held.taken:
            self.unfinished.append((recipient, held))

    def _go_on(self) -> None:
        """Find what follows in held streams of which an event was taken or skipped."""
        while self.unfinished:
            recipient, held = self.unfinished[-1]
            if found := self._messages(recipient, held):
                held.coming = deque(found[1:])
                recipient.go_on(held)
            self.unfinished.pop()

    def _messages(self, recipient: Recipient, held: Held) -> list[Message]:
        """The event of a held stream and the next ones; none if the log has not that event, and the endpoint stops."""
        try:
            return messages.of_stream(held.delivery, recipient.window.ahead.position, recipient.types)
        except LogWentBack as error:
            self._stop(recipient, error)
            return []

    def _stop(self, recipient: Recipient, error: LogWentBack) -> None:
        logger.error("webhook %s has stopped: %s. Run `manage.py replay_events`.", recipient.endpoint.pk, error)
        recipient.stop(error, timezone.now())

    def _look(self) -> None:
        safe = store.safe_place() if self.roster.recipients else self.safe
        self._pause = LOOK[0] if safe != self.safe else min(LOOK[1], 1.5 * self._pause)
        self.safe = safe

    def _read(self, now: datetime) -> None:
        """Read on for all endpoints that have room; those at the same place, for the same types, share the reading."""
        groups: dict[tuple[Place, tuple[str, ...]], list[Recipient]] = defaultdict(list)
        for each in self.roster.recipients.values():
            if each.window.ahead != self.safe and each.may_read(now):
                groups[each.window.ahead, each.types].append(each)
        for (place, types), group in groups.items():
            try:
                found, reached = messages.following(place, self.safe, PAGE, types)
            except LogWentBack as error:
                for each in group:
                    self._stop(each, error)
                continue
            for each in group:
                each.window.take_in(found, reached)

    def _send(self, now: datetime) -> None:
        parcels = []
        again = self._is_time("send again", DUE)
        for each in self.roster.recipients.values():
            if each.held and again:
                self._skip(each, now)
                parcels += [_parcel(each, message, now) for message in self._again(each, now)]
            if each.window.ready:
                parcels += [_parcel(each, message, now) for message in each.news(now)]
        self.sender.keeps_open = len(self.roster.recipients) <= MOST_OPEN
        self.sender.send(parcels)

    def _skip(self, recipient: Recipient, now: datetime) -> None:
        for held in [held for held in recipient.held.values() if held.is_to_be_skipped]:
            if held.delivery.stream not in recipient.on_their_way:
                recipient.skip(held, now)
                self.unfinished.append((recipient, held))

    def _again(self, recipient: Recipient, now: datetime) -> list[Message]:
        found = []
        for held in list(recipient.due(now)):
            if not held.coming:
                held.coming = deque(self._messages(recipient, held))
            if held.coming:
                found.append(recipient.again(held))
        return found

    def _write(self) -> None:
        if not self._is_time("write", WRITE):
            return
        for each in self.roster.recipients.values():
            each.window.settle()
        changed = [each for each in self.roster.recipients.values() if each.moved or each.changed or each.gone]
        if changed:
            failpoint("webhooks taken")
            self.roster.write(changed)
        if self._is_time("remember", REMEMBER):
            self.roster.remember()


def _parcel(recipient: Recipient, message: Message, now: datetime) -> Parcel:
    headers = signatures.headers(message.id, message.body, recipient.secrets, now)
    return Parcel((recipient, message.stream), recipient.endpoint.url, headers, message.body)


def _tell(recipient: Recipient, *, was_failing: bool) -> None:
    """A line in the log when an endpoint begins to fail, and one when it has taken all. Its URL may hold a secret."""
    endpoint = recipient.endpoint
    if endpoint.failing_since is not None and not was_failing:
        logger.warning("webhook %s fails: %s", endpoint.pk, endpoint.last_error)
    elif endpoint.failing_since is None and was_failing:
        logger.warning("webhook %s has taken what it had not", endpoint.pk)


def run(stopped: Callable[[], bool]) -> None:
    """Deliver until `stopped` answers true. Errors are logged, and never end this."""
    with Sender() as sender:
        courier = Courier(sender)
        while not stopped():
            try:
                courier.turn()
            except Exception as error:
                known = isinstance(error, Error | LeaseLost)
                logger.warning("webhooks: an error, beginning anew: %r", error, exc_info=not known)
                connections.close_all()
                courier = Courier(sender)
                time.sleep(RETRY)
        _quietly(courier.finish)
    connections.close_all()


def drain() -> None:
    """Deliver what can be delivered now, and what that makes possible. What fails is left for later."""
    with Sender() as sender:
        courier = Courier(sender)
        try:
            courier.turn()
            while not courier.is_drained(timezone.now()):
                courier.turn()
        finally:
            courier.finish()


def _quietly(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        logger.warning("webhooks: an error at the end: %r", error)
