"""A login has no more streams than it may, also if it opens many at the same instant."""

import gc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from apps.eventlog.events import Place
from apps.eventlog.live import slots
from apps.eventlog.live.credentials import Credential
from apps.eventlog.live.messages import Filter
from apps.eventlog.live.slots import NoSlotLeft, Slot
from apps.eventlog.live.stream import event_stream


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_taken", Counter())
    slots._given_back.clear()


def opened(login: str, most: int) -> Slot | None:
    try:
        return Slot(login, most)
    except NoSlotLeft:
        return None


def test_parallel_opens_do_not_exceed_the_limit() -> None:
    together = Barrier(40)

    def open_one(_: int) -> Slot | None:
        together.wait()
        return opened("ann", 10)

    with ThreadPoolExecutor(40) as threads:
        mine = [slot for slot in threads.map(open_one, range(40)) if slot]
    assert len(mine) == 10
    assert opened("ann", 10) is None
    assert opened("bob", 10) is not None
    mine[0].give_back()
    mine[0].give_back()
    assert opened("ann", 10) is not None  # which goes at once, for nobody has it
    assert opened("ann", 10) is not None
    del mine


def test_a_stream_that_never_began_keeps_no_slot() -> None:
    stream = event_stream(Place(), Filter(), Credential("ann", is_staff=False), slot=Slot("ann", 1))
    assert opened("ann", 1) is None
    del stream  # the client has left before the first byte
    gc.collect()
    assert opened("ann", 1) is not None
