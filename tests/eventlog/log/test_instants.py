"""An instant means the prefix of the log up to the last event recorded then or before, however instants fall."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.eventlog import store
from apps.eventlog.log import instants
from tests.support.erase import erase
from tests.support.exported import import_documents

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
# Whole seconds among them, which SQLite must not take for less than they are, and as many falls as rises.
offsets = st.sampled_from([timedelta(seconds=n / 2) for n in range(8)])


def record(*at: datetime) -> None:
    """Events of a log that was kept elsewhere."""
    document = {"stream_version": 1, "type": "elsewhere.Happened", "schema_version": 1, "data": {}, "metadata": {}}
    head = store.head()
    import_documents(
        [
            document | {"position": head + n, "event_id": uuid4(), "stream": f"thing-{uuid4()}", "recorded_at": instant}
            for n, instant in enumerate(at, start=1)
        ]
    )


def prefix(instant: datetime) -> int:
    """As the contract says it, over all of the log."""
    return max((each.position for each in store.read_all() if each.recorded_at <= instant), default=0)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(offsets, min_size=1, max_size=7), min_size=1, max_size=4))
def test_by_blocks_it_is_what_all_of_the_log_says(
    monkeypatch: pytest.MonkeyPatch, parts: list[list[timedelta]]
) -> None:
    erase("eventlog")  # each example is another log, in the same process
    monkeypatch.setattr(instants, "BLOCK", 3)
    for part in parts:
        record(*[BEGAN + offset for offset in part])
        for half in range(-1, 9):
            instant = BEGAN + timedelta(seconds=half / 2)
            assert store.position_at(instant) == prefix(instant)


def test_blocks_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instants, "BLOCK", 3)
    record(*[BEGAN + timedelta(seconds=n) for n in range(7)])
    assert store.position_at(BEGAN) == 1
    with connections["eventlog"].execute_wrapper(refuse_to_summarize):
        record(BEGAN)
        assert store.position_at(BEGAN) == 8
        record(BEGAN)
        with pytest.raises(AssertionError):
            store.position_at(BEGAN)  # the third block is whole now
    assert store.position_at(BEGAN) == 9


def refuse_to_summarize(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
    assert "min(" not in sql
    return execute(sql, params, many, context)


@pytest.mark.sqlite
def test_what_is_rolled_back_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite a transaction sees its own events as safe."""
    monkeypatch.setattr(instants, "BLOCK", 3)
    with pytest.raises(ZeroDivisionError), store.unit():
        record(*[BEGAN] * 3)
        assert store.position_at(BEGAN) == 3
        1 / 0  # noqa: B018
    record(*[BEGAN + timedelta(seconds=1)] * 4)
    assert store.position_at(BEGAN) == 0
