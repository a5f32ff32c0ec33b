"""`make bench-relay`: events a second from the log to NATS JetStream, beside a bare publisher of the same bodies.

Both are in this process, in turns, each round with a new stream; the median counts. The bare publisher has its bodies
ready in memory, sends no headers, and has as many messages on their way as nats-py allows. The relay reads the log,
makes the messages, and names the sequence that each must follow.
"""

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from pathlib import Path

import nats

from benchmarks import made_up, site
from tools import nats_server


async def bare(url: str, stream: str, bodies: list[bytes]) -> None:
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
    answers = [await jetstream.publish_async(f"{stream}.orders.OrderPlaced", body) for body in bodies]
    await asyncio.gather(*answers)
    await connection.close()


async def bare_with_few_answers(url: str, stream: str, bodies: list[bytes]) -> None:
    """As the relay does it: most messages ask for no answer."""
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"])
    answers = []
    for number, body in enumerate(bodies, start=1):
        if number % 50 and number != len(bodies):
            await connection.publish(f"{stream}.orders.OrderPlaced", body)
        else:
            answers.append(await jetstream.publish_async(f"{stream}.orders.OrderPlaced", body))
    await asyncio.gather(*answers)
    await connection.close()


async def relayed(url: str, stream: str, events: int) -> None:
    from apps.eventlog.relay.cloud_events import Only
    from apps.eventlog.relay.jetstream import Target
    from apps.eventlog.relay.jetstream_relay import Output, Relay

    target = Target([url], stream, Only(category=None, types=None), replicas=1)
    relay = Relay(target, Output(lambda line: None, print), threading.Event(), once=True)
    await relay.run()
    assert relay.sent == events, relay.sent


def bodies_of_log() -> list[bytes]:
    import msgspec

    from apps.eventlog import store
    from apps.eventlog.relay.cloud_events import document

    return [msgspec.json.encode(document(recorded)) for recorded in store.read_all(encrypted=True)]


def report(engine: str, url: str, events: int, rounds: int) -> None:
    bodies = bodies_of_log()
    rates: dict[str, list[float]] = {"bare publisher": [], "the same with few answers": [], "relay": []}
    for number in range(rounds):
        for name, work in (
            ("bare publisher", bare(url, f"bare-{number}", bodies)),
            ("the same with few answers", bare_with_few_answers(url, f"few-{number}", bodies)),
            ("relay", relayed(url, f"relay-{number}", events)),
        ):
            began = time.monotonic()
            asyncio.run(work)
            rates[name].append(events / (time.monotonic() - began))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    print(f"\n{engine}, {events:,} events of {sum(map(len, bodies)) // events} bytes\n")
    print("| | events/s | of the bare publisher |\n| --- | ---: | ---: |")
    for name, rate in medians.items():
        print(f"| {name} | {rate:,.0f} | {rate / medians['bare publisher']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sync", default="2m", help="sync_interval of NATS: 2m is its default; always waits for the disk"
    )
    parser.add_argument("--db", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory, site.deployment(given.db):
        made_up.fill(given.events)
        server = nats_server.Server(Path(directory), sync=given.sync)
        server.start()
        try:
            report(given.db, server.url, given.events, given.rounds)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
