"""`manage.py log_status`: what is wrong with the log and its readers, who holds it back, and how far each reader is."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, connections

from apps.eventlog.management.log_command import LogCommand, say_left_out, visible
from apps.eventlog.read import overview, queries, readers
from apps.eventlog.read.faults import faults
from apps.eventlog.read.overview import Overview
from apps.eventlog.relay import heartbeats

Status = dict[str, Any]


class Command(LogCommand):
    help = (
        "Prints what is wrong first: appends that stay open and hold back every reader, with the SQL that ends "
        "them; readers that have stopped; dead letters; relays and webhooks that do not send; databases that are away. "
        "Then prints where the log ends, how far it may be read, which log it is, its in-flight marks, and how far "
        "each reader, relay and webhook is. Changes nothing. Exit status: 0 nothing is wrong; 1 something is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=["text", "json"], default="text", help="json is one object")

    def handle(self, *args: Any, **options: Any) -> None:
        status = _status()
        say_left_out(self, "their readers are not shown")
        if options["format"] == "json":
            self.stdout.write(msgspec.json.encode(status, enc_hook=str).decode())
        else:
            for line in _lines(status):
                self.stdout.write(visible(line))
        if status["wrong"]:
            raise CommandError(f"{len(status['wrong'])} things are wrong with the log or its readers")


def _status() -> Status:
    """The state of the log and of its readers; one database that is away does not hide the others."""
    status: Status = {"wrong": [], **queries.log(), "readers": []}
    status["has_marks"] = connections[settings.EVENTLOG].vendor != "sqlite"
    away = []
    for service in readers.sources():
        try:
            status["readers"] += queries.of_service(service)
        except Error as error:
            away.append(f"the database of {service} does not answer: {str(error).splitlines()[0]}")
    status["replicas"] = []
    for service in settings.REPLICAS:
        try:
            status["replicas"].append(queries.of_replica(service))
        except Error as error:
            away.append(f"the replica of {service} does not answer: {str(error).splitlines()[0]}")
    status["relays"], status["webhooks"] = heartbeats.relays(), []
    try:
        status["webhooks"] = overview.all_webhooks()
    except Error as error:
        away.append(f"the database of webhooks does not answer: {str(error).splitlines()[0]}")
    status["wrong"] = [*_wrong(status), *away]
    return status


def _wrong(status: Status) -> Iterator[str]:
    for mark in status["marks"]:
        if mark["seconds"] >= overview.HELD:
            yield (
                f"an open append holds back every reader at position {mark['position']}: {_holder(mark)}. "
                f"To end it without a commit, run in the database of the log: {mark['release']}"
            )
    for reader in status["readers"]:
        who = f"{reader['name']} of {reader['service']}"
        if reader["log_went_back"]:
            yield f"{who} has stopped, because the log went back: run manage.py replay_events"
        if reader["dead_letters"]:
            yield f"{who} has {reader['dead_letters']} dead letters: see manage.py dead_letters list"
    if status["seals"]["log_went_back"]:
        yield "the seals are over events that the log does not have: see manage.py verify_log"
    senders = Overview(None, [], [], status["relays"], status["webhooks"])
    yield from (each.text for each in faults(senders))


def _holder(mark: Status) -> str:
    who = f"pid {mark['pid']}" if mark["pid"] else f"the prepared transaction {mark['prepared']}"
    application = mark["application"] or "an application without a name"
    where = f", from {mark['client']}" if mark["client"] else ""
    state = f", {mark['state']}" if mark["state"] else ""
    since = f" since {mark['since']:%Y-%m-%d %H:%M:%S}" if mark["since"] else ""
    return f"{who}, role {mark['role']}, {application}{where}{state}{since}, {mark['seconds']:.0f} s"


def _lines(status: Status) -> Iterator[str]:
    yield from (f"WRONG: {what}" for what in status["wrong"])
    safe = f"may be read up to {status['safe_position']}"
    yield f"the log ends at position {status['head']} and {safe}"
    yield f"identity (its first event): {status['identity'] or 'none, because the log is empty'}"
    yield f"event at {status['safe_position']}: {status['safe_event_id'] or 'none'}"
    yield f"sealed up to position {status['seals']['position']}"
    if not status["has_marks"]:
        yield "in-flight marks: none on SQLite, where one writer at a time makes them needless"
    elif not status["marks"]:
        yield "in-flight marks: none at the moment"
    for mark in status["marks"]:
        yield f"in-flight mark at position {mark['position']}: {_holder(mark)}"
    for reader in status["readers"]:
        stopped = ", stopped: the log went back" if reader["log_went_back"] else ""
        yield (
            f"{reader['kind']} {reader['name']} of {reader['service']}: at position {reader['position']}, "
            f"{reader['lag']} events behind, {reader['dead_letters']} dead letters{stopped}"
        )
    for kind in ("relay", "webhook"):
        for each in status[f"{kind}s"]:
            yield _sender(kind, each)
    for each in status["replicas"]:
        late = f"{each['lag_events']} events behind, the oldest for {each['lag_seconds']:.0f} s"
        yield f"replica of {each['service']}: at position {each['position']}, {late}"


def _sender(kind: str, each: Status) -> str:
    name = each["name"] if kind == "relay" else each["id"]
    active = each["running"] if kind == "relay" else each["active"]
    rests = "" if active else ", does not run" if kind == "relay" else ", is switched off"
    stopped = ", stopped: the log went back" if each["log_went_back"] else ""
    return f"{kind} {name}: at position {each['position']}, {each['lag_events']} events behind{rests}{stopped}"
