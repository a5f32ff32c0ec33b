"""What an endpoint is being sent: the next events of the log, those of each stream one after another. Only memory."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apps.eventlog.events import Place
from apps.eventlog.relay.webhooks.messages import Message

MOST_MESSAGES, MOST_BYTES = 100, 4 * 1024 * 1024  # beyond these no more is read from the log


@dataclass(slots=True, eq=False)
class Entry:
    """A message, and whether nothing is left to do for it here: it was taken, or it waits in a stream that is held."""

    message: Message
    settled: bool = False


class Window:
    """The part of the log between `place`, before which all is settled, and `ahead`, up to which it was read.

    A stream is held if an event of it was not taken. What comes later in it is none of the window's business.
    """

    def __init__(self, place: Place, held: Iterable[str] = ()) -> None:
        self.place = self.ahead = place
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._queues: dict[str, deque[Entry]] = {}  # those that are neither settled nor passed over, by stream
        self._ready: deque[str] = deque()  # streams of which the first entry can be sent
        self._held = set(held)

    @property
    def full(self) -> bool:
        return len(self._entries) >= MOST_MESSAGES or self._bytes >= MOST_BYTES

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    @property
    def empty(self) -> bool:
        return not self._entries

    def take_in(self, messages: Sequence[Message], reached: Place) -> None:
        """Take in what follows `ahead` in the log, up to a place beyond which nothing was looked at."""
        for message in messages:
            entry = Entry(message, settled=message.stream in self._held)
            self._entries.append(entry)
            self._bytes += len(message.body)
            if not entry.settled:
                queue = self._queues.setdefault(message.stream, deque())
                queue.append(entry)
                if len(queue) == 1:
                    self._ready.append(message.stream)
        self.ahead = reached

    def next(self) -> Message | None:
        """A message that can be sent now. Afterwards its stream waits for `taken`, `failed` or `put_back`."""
        return self._queues[self._ready.popleft()][0].message if self._ready else None

    def taken(self, message: Message) -> None:
        queue = self._queues[message.stream]
        queue.popleft().settled = True
        if queue:
            self._ready.append(message.stream)
        else:
            del self._queues[message.stream]

    def put_back(self, message: Message) -> None:
        """The message was not sent after all."""
        self._ready.appendleft(message.stream)

    def failed(self, message: Message) -> None:
        """The message was not taken: from now on its stream is held."""
        self._held.add(message.stream)
        for entry in self._queues.pop(message.stream):
            entry.settled = True

    def release(self, stream: str) -> None:
        """The stream is no longer held: everything up to `ahead` was taken."""
        self._held.discard(stream)

    def settle(self) -> bool:
        """Move `place` beyond what is settled without a gap; False if it has not moved."""
        before = self.place
        while self._entries and self._entries[0].settled:
            message = self._entries.popleft().message
            self._bytes -= len(message.body)
            self.place = message.place
        if not self._entries:
            self.place = self.ahead
        return self.place != before
