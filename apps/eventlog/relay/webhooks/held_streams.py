"""A stream of which an endpoint has not taken an event."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from apps.eventlog.relay.webhooks import retries
from apps.eventlog.relay.webhooks.messages import Answer, Message
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint

OVERLOADED = (None, 429, 502, 503, 504)  # answers that say nothing about the event; None is no answer


@dataclass(eq=False)
class Held:
    """A stream that is held by its delivery; `coming` are the events to send, that of the delivery first.

    `taken`: the event of the delivery was taken, and it is not yet known what follows.
    """

    delivery: Delivery
    coming: deque[Message] = field(default_factory=deque)
    taken: bool = False

    @classmethod
    def by(cls, endpoint: Endpoint, message: Message) -> "Held":
        """The stream of a message that the endpoint has not taken."""
        return cls(described(Delivery(endpoint=endpoint), message))

    def is_due(self, now: datetime) -> bool:
        if self.taken or self.delivery.status != Delivery.Status.PENDING:
            return False
        return self.delivery.next_attempt_at is None or self.delivery.next_attempt_at <= now

    @property
    def is_to_be_skipped(self) -> bool:
        return self.delivery.status == Delivery.Status.SKIPPING and not self.taken

    def failed(self, answer: Answer, now: datetime) -> None:
        """The event was not taken: try it again later, or set it aside if that has gone on for too long."""
        delivery = self.delivery
        delivery.attempts += 1
        delivery.answer, delivery.error, delivery.last_attempt_at = answer.status, answer.error, now
        delivery.first_attempt_at = delivery.first_attempt_at or now
        delivery.next_attempt_at = retries.next_attempt(delivery.first_attempt_at, now)
        if delivery.next_attempt_at is None:
            delivery.status = Delivery.Status.SET_ASIDE
        self.coming.clear()  # until then, the log keeps them

    def hasten(self, now: datetime) -> bool:
        """The endpoint takes events again: if it was not for this event that it failed, the event need not wait."""
        hastened = self.delivery.status == Delivery.Status.PENDING and self.delivery.answer in OVERLOADED
        if hastened:
            self.delivery.next_attempt_at = now
        return hastened


def settle(delivery: Delivery, answer: Answer | None, now: datetime) -> None:
    """The event of a delivery that had failed was taken; without an answer, it was skipped."""
    delivery.settled_at, delivery.next_attempt_at = now, None
    if answer is None:
        delivery.status = Delivery.Status.SKIPPED
    else:
        delivery.attempts += 1
        delivery.status, delivery.answer, delivery.error = Delivery.Status.DELIVERED, answer.status, ""
        delivery.last_attempt_at = now


def described(delivery: Delivery, message: Message) -> Delivery:
    """The delivery, now of the event of this message."""
    delivery.stream, delivery.stream_version = message.stream, message.stream_version
    delivery.position, delivery.event_id = message.place  # type: ignore[assignment]
    delivery.type, delivery.recorded_at = message.type, message.recorded_at
    return delivery
