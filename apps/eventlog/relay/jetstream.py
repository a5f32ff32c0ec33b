"""A stream of NATS JetStream as the target of a relay: made if it is missing, checked, read at its end, and filled.

The end of the stream is the relay's place. Every publish names the sequence that must be the last one before it, and
the server refuses any other. So whatever several relays send, and however often, each event enters once and in order.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error
from nats.js import JetStreamContext
from nats.js.api import Header, PubAck, RawStreamMsg, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from apps.eventlog.events import Place, current_name
from apps.eventlog.relay.cloud_events import MESSAGE_ID, POSITION, Message, Only

ACK_EVERY = 50  # messages; one acknowledgement answers for all before it, because each must follow the one before
IN_FLIGHT = 40  # acknowledgements that may be on their way
PATIENCE = 5.0  # seconds for which an answer is waited for
PING = 10  # seconds between two signs of life; three without an answer, and the connection is given up
WRONG_SEQUENCE = 10071  # codes of JetStream
REFUSED_FOR_GOOD = {10054, 10060, 10109}  # the message is too large, the subject is another stream's, it is sealed
FILTER, EVERYTHING = "headrace-filter", "all"  # what the stream's metadata say about which events it has


class Away(Exception):
    """NATS cannot take messages now; the same may succeed later."""


class OutOfStep(Exception):
    """The stream does not end where this relay believes: another relay was faster, or its end was lost."""


class CannotRelay(Exception):
    """An operator must change something first; the message says what."""


class Last(NamedTuple):
    """The last message of the stream: its sequence, and the place of its event in the log."""

    sequence: int
    place: Place


class Target:
    """One stream, behind a connection that `connect` makes and `close` ends.

    `servers` are URLs; `only` says which events the stream has, by condition. Methods raise `Away`, `OutOfStep` and
    `CannotRelay`.
    """

    def __init__(self, servers: Sequence[str], stream: str, only: Only, replicas: int) -> None:
        self.servers, self.stream, self.only, self.replicas = servers, stream, only, replicas
        self.shared = False  # has another relay sent the same messages?
        self._connection = Client()
        self._jetstream = JetStreamContext(self._connection)
        self._waiting: deque[tuple[int, asyncio.Future[PubAck]]] = deque()
        self._noted = ""

    def __str__(self) -> str:
        return f"{', '.join(map(_without_password, self.servers))}/{self.stream}"

    async def connect(self) -> None:
        """One attempt, at each of the servers; nats-py's own reconnecting would send again what nobody waits for."""
        self._noted = ""
        with _translated():
            self._connection = await nats.connect(
                list(self.servers),
                name=f"Headrace relay to {self.stream}",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                connect_timeout=3,
                ping_interval=PING,
                error_cb=self._note,
                closed_cb=self._lost,
            )
        self._jetstream = self._connection.jetstream(timeout=PATIENCE)

    async def close(self) -> None:
        self._forget()
        if self._connection.is_connected:
            with suppress(Error, OSError):
                await asyncio.wait_for(self._connection.close(), PATIENCE)

    async def open(self) -> Last:
        """Make the stream if there is none, check that it can be a target, and say how it ends."""
        self._forget()
        with _translated():
            while True:
                info = await self._info()
                self._check(info.config)
                last = await self._last(info)
                if last is not None:
                    return last
                if (await self._info()).state.last_seq == info.state.last_seq:
                    raise CannotRelay(
                        f"the last message of {self.stream} was removed, and with it the relay's place; let the relay "
                        f"fill a new stream (--stream), or delete this one. Limits that remove old messages may keep "
                        f"the last one: max_msgs and max_bytes do, max_age does not"
                    )

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        """Send messages that must follow the one of this sequence, one after another, without waiting for each.

        Later calls and `settle` raise what the server answers.
        """
        last = after + len(messages)
        for sequence, message in enumerate(messages, start=after + 1):
            headers = message.headers | {
                Header.EXPECTED_LAST_SEQUENCE: str(sequence - 1),
                Header.EXPECTED_STREAM: self.stream,
            }
            subject = f"{self.stream}.{message.subject}"
            self._check_size(message, headers)
            with _translated():
                if sequence % ACK_EVERY and sequence != last:
                    await self._connection.publish(subject, message.body, headers=headers)
                else:
                    answer = await self._jetstream.publish_async(subject, message.body, PATIENCE, headers=headers)
                    self._waiting.append((sequence, answer))
            if len(self._waiting) > IN_FLIGHT:
                await self._acknowledged()

    async def settle(self) -> None:
        """Wait until the stream has everything that was sent."""
        while self._waiting:
            await self._acknowledged()

    async def _acknowledged(self) -> None:
        sequence, answer = self._waiting.popleft()
        try:
            with _translated():
                ack = await asyncio.wait_for(answer, PATIENCE)
        except Away as error:
            raise Away(f"{error}{self._noted}") from error
        if ack.seq != sequence:
            raise OutOfStep(f"a message has the sequence {ack.seq} and not {sequence}")
        self.shared |= bool(ack.duplicate)

    async def _note(self, error: Exception) -> None:
        """Some errors, such as a missing permission to publish, come by themselves and answer nothing."""
        if not isinstance(error, APIError):
            self._noted = f"; it has also said {error}"

    async def _lost(self) -> None:
        """The connection is gone, so no answer will come any more."""
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(ConnectionClosedError())

    def _forget(self) -> None:
        """Nobody waits any longer for what is on its way."""
        while self._waiting:
            _, answer = self._waiting.pop()
            if not answer.cancel():
                answer.exception()  # looked at, so that asyncio does not report it as forgotten
        self.shared = False

    async def _info(self) -> StreamInfo:
        """What the server says of the stream, which is made if there is none."""
        with suppress(NotFoundError):
            return await self._jetstream.stream_info(self.stream)
        try:
            return await self._jetstream.add_stream(self._config())
        except ServiceUnavailableError:
            raise
        except APIError as error:
            with suppress(NotFoundError):  # another relay may have made it meanwhile, with other replicas perhaps
                return await self._jetstream.stream_info(self.stream)
            raise CannotRelay(f"the stream {self.stream} cannot be made: {error.description}") from error

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=self.stream,
            description="Events of Headrace, written by relay_events and by nobody else",
            subjects=[f"{self.stream}.>"],
            storage=StorageType.FILE,
            num_replicas=self.replicas,
            deny_delete=True,
            deny_purge=True,
            metadata={FILTER: _filter(self.only)},
        )

    def _check(self, config: StreamConfig) -> None:
        """Raise `CannotRelay` if the stream cannot keep the relay's place, or is for other events."""
        wanted, there = _filter(self.only), (config.metadata or {}).get(FILTER, EVERYTHING)
        if _today(there) != _today(wanted):
            raise CannotRelay(
                f"the stream {self.stream} is for the events of {there}, and this relay sends those of {wanted}: it "
                f"would leave gaps. Name another stream with --stream"
            )
        if config.retention not in (None, RetentionPolicy.LIMITS):
            raise CannotRelay(f"the stream {self.stream} has the retention {config.retention}; it must be limits")
        if config.no_ack:
            raise CannotRelay(f"the stream {self.stream} acknowledges nothing (no_ack)")
        if not {f"{self.stream}.>", ">"} & set(config.subjects or ()):
            raise CannotRelay(f"the stream {self.stream} must have the subject {self.stream}.>")

    async def _last(self, info: StreamInfo) -> Last | None:
        """How the stream ends; None if its last message is not there."""
        last, first = info.state.last_seq, info.config.first_seq or 1
        if last < first:
            return Last(last, Place())
        try:
            found = await self._jetstream.get_msg(self.stream, last)
        except NotFoundError:
            return None
        return Last(last, _place(found, self.stream))

    def _check_size(self, message: Message, headers: dict[str, str]) -> None:
        """Raise `CannotRelay`: to leave the event out would be a gap, and to try again would not help."""
        size = len(message.body) + sum(len(name) + len(value) + 4 for name, value in headers.items()) + 12
        if size > self._connection.max_payload:
            raise CannotRelay(
                f"the event at position {message.place.position} has {size:,} bytes as a message, and the server takes "
                f"{self._connection.max_payload:,}: raise max_payload in its configuration"
            )


def _place(found: RawStreamMsg, stream: str) -> Place:
    headers = found.headers or {}
    try:
        return Place(int(headers[POSITION]), UUID(headers[MESSAGE_ID]))
    except (KeyError, ValueError):
        raise CannotRelay(
            f"the last message of {stream}, of the subject {found.subject}, is no event of a relay: somebody else "
            f"writes to this stream. Name a stream of its own with --stream"
        ) from None


def _filter(only: Only) -> str:
    """The conditions as the metadata of the stream have them; relays with the same ones may share a stream."""
    named = {"categories": only["category"], "types": only["types"]}
    conditions = {name: sorted(set(values)) for name, values in named.items() if values}
    return msgspec.json.encode(conditions).decode() if conditions else EVERYTHING


def _today(conditions: str) -> Any:
    """The conditions that a stream has, with the names that event types have now. Anything else stays as it is."""
    try:
        found = msgspec.json.decode(conditions, type=dict[str, list[str]])
    except msgspec.DecodeError:
        return conditions
    return found | {"types": sorted({current_name(name) for name in found.get("types", [])})}


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of nats-py as what they mean to a relay."""
    try:
        yield
    except NoStreamResponseError as error:
        raise OutOfStep("no stream takes the messages") from error
    except ServiceUnavailableError as error:
        raise Away(error.description or "JetStream does not answer: it starts, or it is not enabled") from error
    except APIError as error:
        if error.err_code == WRONG_SEQUENCE:
            raise OutOfStep(error.description) from error
        if error.err_code in REFUSED_FOR_GOOD:
            raise CannotRelay(f"NATS refuses a message: {error.description}") from error
        raise Away(error.description or str(error)) from error
    except (Error, OSError) as error:
        if "authorization" in str(error).lower():
            raise CannotRelay(f"NATS refuses the login: {error}") from error
        silent = isinstance(error, TimeoutError)
        raise Away(f"NATS has not answered for {PATIENCE:.0f} seconds" if silent else str(error)) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
