"""What a stream of NATS JetStream has, read as a consumer would, and changed as an operator might."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import nats
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig


class Received(NamedTuple):
    sequence: int
    subject: str
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def position(self) -> int:
        return int(self.headers["Headrace-Position"])


def messages(url: str, stream: str = "headrace") -> list[Received]:
    """All messages of a stream, in its order."""

    async def read(jetstream: JetStreamContext) -> list[Received]:
        left = (await jetstream.stream_info(stream)).state.messages
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)
        consumer = await jetstream.pull_subscribe("", stream=stream, config=config)
        found: list[Received] = []
        while len(found) < left:
            try:
                batch = await consumer.fetch(500, timeout=2)
            except TimeoutError:  # somebody has removed some
                break
            for each in batch:
                document = msgspec.json.decode(each.data)
                found.append(Received(each.metadata.sequence.stream, each.subject, each.headers or {}, document))
        return found

    return _with(url, read)


def config(url: str, stream: str = "headrace") -> StreamConfig:
    """How a stream is made."""
    return _with(url, lambda jetstream: jetstream.stream_info(stream)).config


def make_stream(url: str, **config: Any) -> None:
    """A stream that no relay has made."""
    _with(url, lambda jetstream: jetstream.add_stream(**config))


def publish(url: str, subject: str) -> None:
    """A message that no relay has sent."""
    _with(url, lambda jetstream: jetstream.publish(subject, b"{}"))


def remove_message(url: str, stream: str, sequence: int) -> None:
    _with(url, lambda jetstream: jetstream.delete_msg(stream, sequence))


def _with(url: str, work: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        connection = await nats.connect(url, allow_reconnect=False)
        try:
            return await work(connection.jetstream())
        finally:
            await connection.close()

    return asyncio.run(run())
