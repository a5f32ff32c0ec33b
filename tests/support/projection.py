"""What every projector must bear, as a fixture for the tests of any service: `hardened(OrderProjector)`.

Append events or send commands first. It then projects what is in the log anew: in batches of several sizes,
twice, and with a process that ends in the middle. It fails if the rows are not those of a replay.
"""

from collections.abc import Callable
from typing import Any

import pytest

from apps.eventlog.delivery import checkpoints, projecting
from apps.eventlog.projectors import Projector
from apps.eventlog.replay import rebuild

Rows = dict[str, list[dict[str, Any]]]
Hardened = Callable[[type[Projector]], None]


class Restart(BaseException):
    """The process ends in the middle of a batch, before its commit."""


def rows(kind: type[Projector]) -> Rows:
    """The rows of a projector's tables, by table, in the order of their keys."""
    return {model._meta.db_table: list(model._default_manager.order_by("pk").values()) for model in kind.models}


def forget(kind: type[Projector]) -> None:
    """As if the projector were new to the log."""
    checkpoints.checkpoint_model(kind.service).objects.filter(name=kind.name).delete()
    for model in kind.models:
        model._default_manager.all().delete()


@pytest.fixture
def hardened() -> Hardened:
    """`harden`, for tests of pytest."""
    return harden


def harden(kind: type[Projector]) -> None:
    """Project the log in every way that delivery may take; fails if the rows are not those of one replay."""
    rebuild.rebuild(kind)
    replayed = rows(kind)
    assert any(replayed.values()), "the log holds nothing for this projector: make a history first"
    for batch in (1, 3, 7, projecting.BATCH):
        forget(kind)
        projecting.catch_up(kind.service, batch)
        assert rows(kind) == replayed, f"live rows in batches of {batch} are not those of a replay"
        projecting.catch_up(kind.service, batch)
        assert rows(kind) == replayed, "a second delivery changes rows"
        forget(kind)
        _restart_in_the_middle(kind, batch)
        assert rows(kind) == replayed, f"events that come again after a restart count twice, batch {batch}"


def _restart_in_the_middle(kind: type[Projector], batch: int) -> None:
    """Let the second batch be projected and lost, then deliver it again."""
    steps = []

    def end_the_process(name: str) -> None:
        steps.append(name)
        if len(steps) == 2:
            raise Restart

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projecting, "failpoint", end_the_process)
        try:
            projecting.catch_up(kind.service, batch)
        except Restart:
            projecting.catch_up(kind.service, batch)
