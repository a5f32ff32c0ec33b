"""The open streams of this process, which are the listeners of django-eventstream's channel."""

from collections.abc import Iterable

from django.db import connections
from django_eventstream.event import Event
from django_eventstream.views import Listener, get_listener_manager

from apps.eventlog.live import credentials
from apps.eventlog.live.credentials import Credential
from apps.eventlog.live.messages import CHANNEL
from apps.eventlog.monitoring import instruments

EVENTS, HEARTBEAT = "events", "heartbeat"  # what a listener is woken for


def add(credential: Credential) -> Listener:
    """Register a listener in the running event loop."""
    listener = Listener()
    listener.channels, listener.user_id = {CHANNEL}, credential
    listener.assign_loop()
    get_listener_manager().add_listener(listener)
    instruments.streams(1)
    return listener


def remove(listener: Listener) -> None:
    get_listener_manager().remove_listener(listener)
    instruments.streams(-1)


def wake_all(type: str, position: int) -> None:
    """Wake every listener for new events or a heartbeat."""
    get_listener_manager().add_to_queues(CHANNEL, Event(CHANNEL, type, {}, id=position))


def clear(listener: Listener) -> bool:
    """Forget what has woken the listener, so that it can be woken again; True if a heartbeat was among it."""
    with get_listener_manager().lock:
        listener.aevent.clear()
        items = listener.channel_items.pop(CHANNEL, ())
    return any(item.type == HEARTBEAT for item in items)


def open_credentials() -> list[Credential]:
    """The credential of each open stream."""
    manager = get_listener_manager()
    with manager.lock:
        return [listener.user_id for listener in manager.listeners_by_channel.get(CHANNEL, ())]


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
