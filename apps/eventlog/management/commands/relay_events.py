"""`manage.py relay_events`: send the events of the log to a stream of NATS JetStream."""

import asyncio
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError
from django.db import Error

from apps.eventlog import projectors, store
from apps.eventlog.events import DomainEvent, named
from apps.eventlog.management.log_command import LogCommand, stopped_by_signals
from apps.eventlog.relay.cloud_events import Only
from apps.eventlog.relay.jetstream import Away, CannotRelay, Target
from apps.eventlog.relay.jetstream_relay import Output, Relay

STREAM = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
SCHEMES = ("nats", "tls", "ws", "wss")
WENT_BACK = (
    "{error}. So {target} has events that the log does not have, and consumers have seen them. If the log is as it "
    "should be, fill a new stream (--stream NAME) or delete this one, and let consumers start over; see "
    "docs/how-to/send-events-out.md. Headrace itself is repaired by replay_events"
)


class Command(LogCommand):
    help = (
        "Sends every event of the log to a stream of NATS JetStream, once and in order, without personal fields. It "
        "makes the stream if there is none. Its place is the last message of the stream, so any number of relays may "
        "run, and each may be killed at any instant. If NATS or the log is away, it waits. Stop it with SIGTERM or "
        "Ctrl-C. Exit status 1: an operator must do something first, and the message says what."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("servers", type=servers, metavar="URL", help="nats://host:4222; several with commas between them")
        add("--stream", type=stream, default="headrace", metavar="NAME", help="the stream in NATS (default headrace)")
        add("--once", action="store_true", help="send what waits, then stop; a NATS that is away is then an error")
        add("--type", action="append", metavar="TYPE", help="only events of this type, as in orders.OrderPlaced")
        add("--category", action="append", metavar="NAME", help="only events of streams of this category, as in order")
        add(
            "--replicas",
            type=int,
            choices=[1, 3, 5],
            default=1,
            help="servers that have a copy of the stream, if it is made now (default 1)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        _check_known(options["type"] or (), options["category"] or ())
        only = Only(category=options["category"], types=options["type"])
        target = Target(options["servers"], options["stream"], only, options["replicas"])
        output = Output(self._say, self.stderr.write)
        with stopped_by_signals() as stop:
            relay = Relay(target, output, stop, once=options["once"])
            try:
                asyncio.run(relay.run())
            except store.LogWentBack as error:
                raise CommandError(WENT_BACK.format(error=error, target=target)) from error
            except (CannotRelay, Away, Error) as error:
                raise CommandError(f"{target}: {error}") from error
        place = f", which has everything up to position {relay.place.position}" if relay.place else ""
        self._say(f"{relay.sent} events sent to {target}{place}")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def servers(text: str) -> list[str]:
    """URLs of NATS servers, with commas between them."""
    urls = [url.strip() for url in text.split(",") if url.strip()]
    for url in urls:
        try:
            parts = urlsplit(url)
            known = parts.scheme in SCHEMES and parts.hostname and (parts.port is None or parts.port)
        except ValueError:
            known = False
        if not known:
            raise ArgumentTypeError("a URL is as in nats://host:4222, and several have commas between them")
    if not urls:
        raise ArgumentTypeError("a URL is as in nats://host:4222")
    return urls


def stream(text: str) -> str:
    """The name of a stream, which also begins its subjects."""
    if not STREAM.fullmatch(text):
        raise ArgumentTypeError(f"{text!r}: a stream has 1 to 100 ASCII letters, digits, dashes and underscores")
    return text


def _check_known(types: Collection[str], categories: Collection[str]) -> None:
    """A misspelt name would send nothing, without a word. A name that only the log knows is fine."""
    known = projectors.categories()
    for name in types:
        if named(name) is None and not store.any_after(0, types=[name]):
            raise CommandError(f"no event type {name!r}; there are {', '.join(sorted(DomainEvent.types))}")
    for name in categories:
        if name not in known and not store.any_after(0, category=[name]):
            raise CommandError(f"no category {name!r}; there are {', '.join(sorted(known))}")
