"""One command, as its log line and the metrics show it, and which request it belongs to."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, time
from typing import Any

from apps.eventlog.commands import Actor, Outcome
from apps.eventlog.monitoring import instruments, lines, origin
from apps.eventlog.monitoring.later import later
from apps.eventlog.monitoring.origin import Origin


class Dispatched:
    """A command that is run; `outcome` is set when its events are committed."""

    outcome: Outcome | None = None


@contextmanager
def dispatched(
    name: str, actor: Actor, ids: Origin, outcomes: dict[str, tuple[type[Exception], ...]]
) -> Iterator[Dispatched]:
    """Measure a command. What it raises is named by the first of the `outcomes` that fits, else it has `failed`."""
    began, seen, error, result = perf_counter(), Dispatched(), "", "failed"
    try:
        with origin.within(ids):
            yield seen
        result = "ok"
    except Exception as raised:
        error = type(raised).__name__
        result = next((named for named, kinds in outcomes.items() if isinstance(raised, kinds)), result)
        raise
    finally:
        later.do(_record, name, result, perf_counter() - began, actor, ids, error, seen.outcome or Outcome(), time())


def _record(
    name: str, result: str, seconds: float, actor: Actor, ids: Origin, error: str, outcome: Outcome, at: float
) -> None:
    instruments.command(name, result, seconds)
    level = logging.WARNING if result in ("failed", "unavailable") else logging.INFO
    fields: dict[str, Any] = {
        "command": name, "outcome": result, "error": error, "position": outcome.position or "",
        "ms": round(1000 * seconds, 1), "who": actor.pseudonym, **ids._asdict(),
    }  # fmt: skip
    lines.write("command", "command", level, fields, at)
