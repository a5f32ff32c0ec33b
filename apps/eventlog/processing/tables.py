"""The tables of the processes: what they remember, their timers, their commands, and what was set aside."""

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import QuerySet

from apps.eventlog.delivery import checkpoints
from apps.eventlog.delivery.dead_letters import OPEN
from apps.eventlog.models import OutgoingCommand, ProcessDeadLetter, ProcessInstance, Timer
from apps.eventlog.processes import Process

ALIAS = Process.service


def kinds() -> list[type[Process]]:
    """Every process, by name."""
    return sorted(Process.registry.values(), key=lambda kind: kind.name)


def instances() -> type[ProcessInstance]:
    return apps.get_model(ALIAS, "Instance")  # type: ignore[return-value]


def timers() -> type[Timer]:
    return apps.get_model(ALIAS, "Timer")  # type: ignore[return-value]


def commands() -> type[OutgoingCommand]:
    return apps.get_model(ALIAS, "OutgoingCommand")  # type: ignore[return-value]


def dead_letters() -> type[ProcessDeadLetter]:
    return checkpoints.dead_letter_model(ALIAS)  # type: ignore[return-value]


def parked(kind: type[Process], keys: Collection[str] | None = None) -> QuerySet[Any]:
    """The keys of a process, or those among `keys`, for which an event or a timer is set aside.

    What is later for them waits. A command that is set aside holds up commands alone.
    """
    letters = dead_letters().objects.filter(projector=kind.name, status__in=OPEN, command_id=None)
    if keys is not None:
        letters = letters.filter(key__in=keys)
    return letters.order_by().values_list("key", flat=True).distinct()


def are_empty() -> bool:
    """Does no process remember anything, or are there not even tables yet?"""
    there = connections[ALIAS].introspection.table_names()
    known = [model for model in (instances(), timers(), commands()) if model._meta.db_table in there]
    return not any(model.objects.exists() for model in known)
