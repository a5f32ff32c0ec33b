#!/usr/bin/env python
"""A service elsewhere: counts orders by customer from NATS JetStream, each event once, in a SQLite file of its own.

    python examples/consume_events.py orders.sqlite3 --url nats://127.0.0.1:4222

The place in the stream is kept with the rows and commits with them, so the process may be killed at any instant. The
id of the event tells whether the stream still has what was read. nats-py is all that this needs.
"""

import argparse
import asyncio
import json
import sqlite3
from typing import Any

import nats
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

TABLES = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY, sequence INTEGER, position INTEGER, event_id TEXT);
CREATE TABLE IF NOT EXISTS customer (id TEXT PRIMARY KEY, orders INTEGER)
"""
COUNT = "INSERT INTO customer VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET orders = orders + 1"


def take(rows: sqlite3.Connection, message: Any) -> int:
    """Change the rows and the place in one transaction; returns the sequence of the message."""
    event, sequence = json.loads(message.data), message.metadata.sequence.stream
    with rows:
        if event["type"] == "orders.OrderPlaced":
            rows.execute(COUNT, [event["data"]["customer_id"]])
        rows.execute("REPLACE INTO place VALUES (1, ?, ?, ?)", [sequence, event["position"], event["event_id"]])
    return int(sequence)


async def reached(jetstream: JetStreamContext, stream: str, rows: sqlite3.Connection) -> int:
    """The sequence of the last message that was taken, if the stream still has it, or will have it again."""
    sequence, event_id = rows.execute("SELECT sequence, event_id FROM place").fetchone() or (0, "")
    while sequence:
        try:
            found = await jetstream.get_msg(stream, sequence)
        except NotFoundError:  # the stream went back, and the relay fills it again
            await asyncio.sleep(1)
            continue
        if (found.headers or {}).get("Nats-Msg-Id") != event_id:
            raise SystemExit("The stream has other events than these rows: delete them and begin again")
        break
    return int(sequence)


async def follow(url: str, stream: str, rows: sqlite3.Connection, *, once: bool) -> None:
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    while True:
        sequence, number = await reached(jetstream, stream, rows), 0
        config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=60)
        config.deliver_policy, config.opt_start_seq = api.DeliverPolicy.BY_START_SEQUENCE, sequence + 1
        consumer = await jetstream.pull_subscribe(f"{stream}.orders.*", stream=stream, config=config)
        try:
            while True:
                for message in await consumer.fetch(100, timeout=1 if once else 10):
                    number += 1
                    if message.metadata.sequence.consumer != number:  # some were lost on their way: ask again
                        raise TimeoutError
                    sequence = take(rows, message)
        except TimeoutError:  # nothing came, or the server has forgotten this consumer
            await consumer.unsubscribe()
            if once:
                break
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--stream", default="headrace")
    parser.add_argument("--once", action="store_true", help="stop when nothing more comes")
    given = parser.parse_args()
    rows = sqlite3.connect(given.file)
    rows.executescript(TABLES)
    asyncio.run(follow(given.url, given.stream, rows, once=given.once))


if __name__ == "__main__":
    main()
