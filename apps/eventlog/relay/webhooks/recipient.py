"""One endpoint as its courier sees it: what is sent next, and what follows from the answers. No database, no clock.

Each stream goes by itself. If an event is not taken, its stream is held: the event is tried again after growing pauses,
and the later events of the stream wait. If events of a few streams fail in a row, the whole endpoint is left in peace,
and then tried with one event that waits and one that is new, until it takes one.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from apps.eventlog.events import current_name
from apps.eventlog.relay.webhooks import held_streams, retries
from apps.eventlog.relay.webhooks.held_streams import Held
from apps.eventlog.relay.webhooks.messages import Answer, Message
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint
from apps.eventlog.relay.webhooks.window import Window
from apps.eventlog.store import LogWentBack

STREAMS_AT_ONCE = 4  # requests to one endpoint
GONE = 410


class Recipient:
    """`leaving`: what was read is still sent, and no more is read; `stopped`: nothing more is sent.

    `moved`: the endpoint is not in the database as it is here; neither are the deliveries in `changed`, and those in
    `gone` are still there.
    """

    def __init__(self, endpoint: Endpoint, deliveries: Iterable[Delivery], secrets: Sequence[bytes]) -> None:
        self.endpoint, self.secrets = endpoint, secrets
        self.held = {delivery.stream: Held(delivery) for delivery in deliveries}
        self.window = Window(endpoint.place, self.held)
        self.on_their_way: dict[str, Message] = {}  # by stream
        self.leaving = self.stopped = self.moved = False
        self.changed: list[Delivery] = []
        self.gone: list[Delivery] = []

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(map(current_name, self.endpoint.event_types))

    @property
    def in_trouble(self) -> bool:
        return self.endpoint.failures >= retries.TOLERATED

    def is_quiet(self, now: datetime) -> bool:
        """Is nothing to be sent for now?"""
        paused_until = self.endpoint.paused_until
        return self.stopped or (paused_until is not None and paused_until > now)

    def may_read(self, now: datetime) -> bool:
        """Is there room for more of the log? In trouble one event is enough."""
        if self.leaving or self.window.full or self.is_quiet(now):
            return False
        return not (self.in_trouble and self.window.ready)

    @property
    def is_idle(self) -> bool:
        """Is nothing on its way, and nothing known that is to be sent?"""
        return not self.on_their_way and self.window.empty

    def due(self, now: datetime) -> Iterator[Held]:
        """The held streams whose event is to be sent again, with `again`."""
        if self.is_quiet(now) or (self.in_trouble and self.on_their_way):
            return
        left = 1 if self.in_trouble else STREAMS_AT_ONCE - len(self.on_their_way)
        for stream, held in self.held.items():
            if left > 0 and held.is_due(now) and stream not in self.on_their_way and self._was_read(held):
                left -= 1
                yield held

    def _was_read(self, held: Held) -> bool:
        """After a restart the window comes once more to events of a held stream, and has to pass them over."""
        return held.delivery.position <= self.window.ahead.position

    def again(self, held: Held) -> Message:
        """Send the first of what is `coming` in a held stream."""
        message = self.on_their_way[held.delivery.stream] = held.coming[0]
        return message

    def news(self, now: datetime) -> Iterator[Message]:
        """New events to send now."""
        room = 0 if self.is_quiet(now) else STREAMS_AT_ONCE - len(self.on_their_way)
        if self.in_trouble:
            room = min(room, int(self.on_their_way.keys() <= self.held.keys()))
        for _ in range(room):
            if message := self.window.next():
                self.on_their_way[message.stream] = message
                yield message

    def take(self, stream: str, answer: Answer, now: datetime) -> None:
        """What follows from the answer to the message of a stream that was on its way."""
        message, held = self.on_their_way.pop(stream), self.held.get(stream)
        self.moved = True
        if answer.error:
            self._failed(message, held, answer, now)
        else:
            self._taken(message, held, answer, now)

    def _taken(self, message: Message, held: Held | None, answer: Answer, now: datetime) -> None:
        endpoint = self.endpoint
        if self.in_trouble:
            self.changed += [each.delivery for each in self.held.values() if each.hasten(now)]
        endpoint.sent += 1
        endpoint.failures, endpoint.paused_until = 0, None
        if held is None:
            self.window.taken(message)
            return
        if held.delivery.attempts:
            held_streams.settle(held.delivery, answer, now)
        held.coming.popleft()
        held.taken = True
        if held.coming:
            self.go_on(held)

    def skip(self, held: Held, now: datetime) -> None:
        """The event of a held stream is left out, because somebody has decided so."""
        held_streams.settle(held.delivery, None, now)
        held.coming.clear()
        held.taken = self.moved = True

    def go_on(self, held: Held) -> None:
        """The event of a held stream was taken. The first of `coming` follows it; if there is none, the stream is free.

        Then `coming` has to be all that the log has of the stream up to where the window is: nobody else sends that.
        """
        delivery, held.taken = held.delivery, False
        if delivery.attempts:
            self.changed.append(delivery)
        if not held.coming:
            self._free(delivery)
        elif delivery.attempts:
            held.delivery = Held.by(self.endpoint, held.coming[0]).delivery
            self.changed.append(held.delivery)
        else:  # it has never failed, so it leaves no row of its own
            self.changed.append(held_streams.described(delivery, held.coming[0]))

    def _free(self, delivery: Delivery) -> None:
        del self.held[delivery.stream]
        self.window.release(delivery.stream)
        if not delivery.attempts:
            self.gone.append(delivery)
        if not self.held:
            self.endpoint.failing_since, self.endpoint.last_error = None, ""

    def _failed(self, message: Message, held: Held | None, answer: Answer, now: datetime) -> None:
        endpoint = self.endpoint
        # A single event that it cannot take must not keep it from the others, however often that event is tried.
        endpoint.failures += int(held is None or self.in_trouble)
        if held is None:
            self.window.failed(message)
            held = self.held[message.stream] = Held.by(self.endpoint, message)
        held.failed(answer, now)
        self.changed.append(held.delivery)
        endpoint.failing_since = endpoint.failing_since or now
        endpoint.last_error = answer.error
        endpoint.paused_until = retries.peace_until(endpoint.failures, now, answer.wish)
        if answer.status == GONE:  # as Standard Webhooks asks for
            endpoint.active, self.stopped = False, True

    def refresh(self, endpoint: Endpoint, deliveries: Iterable[Delivery], secrets: Sequence[bytes]) -> None:
        """Take over what people have changed. If some of it has to wait, the revision stays the old one."""
        self.secrets, mine = secrets, self.endpoint
        mine.url, mine.event_types = endpoint.url, endpoint.event_types
        mine.failures, mine.paused_until = endpoint.failures, endpoint.paused_until
        for delivery in deliveries:
            held = self.held.get(delivery.stream)
            if held is None or held.delivery.pk != delivery.pk or delivery.stream in self.on_their_way:
                return  # what is here must be written first, or what is on its way be back
            if held.delivery.position != delivery.position:
                held.coming.clear()
            held.delivery = delivery
        mine.revision = endpoint.revision

    def stop(self, error: LogWentBack, now: datetime) -> None:
        """The log has not the place of the endpoint, or not an event that it is owed."""
        endpoint = self.endpoint
        endpoint.log_went_back, endpoint.last_error = True, f"LogWentBack: {error}"
        endpoint.failing_since = endpoint.failing_since or now
        self.stopped = self.moved = True
