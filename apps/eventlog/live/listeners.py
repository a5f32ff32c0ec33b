"""The open streams of this process, which are the listeners of django-eventstream's channel."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from django.db import connections
from django_eventstream.views import Listener, get_listener_manager

from apps.eventlog.live import credentials
from apps.eventlog.live.credentials import Credential
from apps.eventlog.live.messages import CHANNEL
from apps.eventlog.monitoring import instruments


class StreamListener(Listener):  # type: ignore[misc]
    """What a stream waits with; `heartbeat`: one is due."""

    heartbeat = False


def add(credential: Credential) -> StreamListener:
    """Register a listener in the running event loop."""
    listener = StreamListener()
    listener.channels, listener.user_id = {CHANNEL}, credential
    listener.assign_loop()
    get_listener_manager().add_listener(listener)
    instruments.streams(1)
    return listener


def remove(listener: StreamListener) -> None:
    get_listener_manager().remove_listener(listener)
    instruments.streams(-1)


def wake_all(*, heartbeat: bool = False) -> None:
    """Wake every listener, for new events or for a heartbeat."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[StreamListener]] = defaultdict(list)
    for listener in _open():
        by_loop[listener.loop].append(listener)
    # One call for each loop: one for each listener, as the manager makes them, would be a system call for each.
    for loop, listeners in by_loop.items():
        loop.call_soon_threadsafe(_wake, listeners, heartbeat)


def _wake(listeners: list[StreamListener], heartbeat: bool) -> None:
    for listener in listeners:
        listener.heartbeat = listener.heartbeat or heartbeat
        listener.aevent.set()


def clear(listener: StreamListener) -> bool:
    """Forget what has woken the listener, so that it can be woken again; True if a heartbeat is due."""
    listener.aevent.clear()
    due, listener.heartbeat = listener.heartbeat, False
    return due


def _open() -> list[StreamListener]:
    manager = get_listener_manager()
    with manager.lock:
        return list(manager.listeners_by_channel.get(CHANNEL, ()))


def open_credentials() -> list[Credential]:
    """The credential of each open stream."""
    return [listener.user_id for listener in _open()]


def end(ended: Iterable[Credential]) -> None:
    """End the streams that were opened with these credentials."""
    for credential in set(ended):
        get_listener_manager().kick(credential, CHANNEL)


def end_invalid() -> None:
    """End the streams whose credential is no longer valid."""
    try:
        opened = set(open_credentials())
        end(opened - credentials.valid(opened))
    finally:
        connections.close_all()  # those of the thread that checks
