"""The storage contract: what `apps.eventlog.store` promises on every engine."""

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connections, transaction

from apps.eventlog import reservations, store
from apps.eventlog.events import FIELDS, InvalidEvent, RecordedEvent
from apps.eventlog.log import columns
from apps.eventlog.models import StoredEvent
from apps.eventlog.sealing import canonical_form
from tests.eventlog.events import Counted, Named
from tests.support import checker
from tests.support.erase import lifted
from tests.support.exported import import_documents

LOG = connections["eventlog"]


def numbers(stream: str) -> list[int]:
    return [recorded.data["n"] for recorded in store.read_stream(stream)]


def test_an_append_is_read_back() -> None:
    appended = store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, metadata={"actor": "me"})
    first, second = store.read_stream("thing-1")
    assert (first.event, second.event) == (Counted(1), Counted(2))
    assert (first.stream_version, second.stream_version) == (1, 2)
    assert first.position < second.position == appended.position
    assert appended.version == 2
    assert first.metadata == {"actor": "me"}
    assert first.type == "eventlog.Counted"
    assert abs(datetime.now(UTC) - first.recorded_at) < timedelta(minutes=1)


def test_positions_begin_at_one() -> None:
    assert store.safe_position() == store.head() == 0
    assert store.append("thing-1", [Counted()], expected_version=0).position == 1
    assert store.safe_position() == store.head() == 1


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_another_version_than_expected_is_refused(expected: int) -> None:
    store.append("thing-1", [Counted(1), Counted(2)], expected_version=0)
    with pytest.raises(store.WrongExpectedVersion) as refusal:
        store.append("thing-1", [Counted(3)], expected_version=expected)
    assert (refusal.value.expected, refusal.value.actual) == (expected, 2)
    assert numbers("thing-1") == [1, 2]


def test_an_append_without_events_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        store.append("thing-1", [], expected_version=0)


@pytest.mark.parametrize("stream", ["", "thing", "thing-", "-1"])
def test_a_stream_is_a_category_and_an_id(stream: str) -> None:
    with pytest.raises(ValueError, match="<category>-<id>"):
        store.append(stream, [Counted()], expected_version=0)


def test_a_repeated_append_is_recognised_for_ever() -> None:
    ids = [uuid4(), uuid4()]
    first = store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, event_ids=ids)
    store.append("thing-1", [Counted(3)], expected_version=2)
    again = store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, event_ids=ids)
    at_the_current_version = store.append("thing-1", [Counted(1), Counted(2)], expected_version=3, event_ids=ids)
    assert again == at_the_current_version == first
    assert numbers("thing-1") == [1, 2, 3]


@pytest.mark.parametrize(("stream", "n"), [("thing-2", 1), ("thing-1", 5)])
def test_an_event_id_belongs_to_one_event(stream: str, n: int) -> None:
    id = uuid4()
    store.append("thing-1", [Counted(1)], expected_version=0, event_ids=[id])
    expected = store.head() if stream == "thing-1" else 0
    with pytest.raises(store.EventIdTaken):
        store.append(stream, [Counted(n)], expected_version=expected, event_ids=[id])


def test_several_streams_are_appended_together_or_not_at_all() -> None:
    with store.unit():
        store.append("thing-1", [Counted(1)], expected_version=0)
        store.append("thing-2", [Counted(2)], expected_version=0)
    with pytest.raises(store.WrongExpectedVersion), store.unit():
        store.append("thing-1", [Counted(3)], expected_version=1)
        store.append("thing-2", [Counted(4)], expected_version=0)
    assert (numbers("thing-1"), numbers("thing-2")) == ([1], [2])


def test_a_reservation_is_kept_with_the_append_or_not_at_all() -> None:
    with pytest.raises(store.WrongExpectedVersion), store.unit():
        reservations.reserve("name", "x", "thing-1")
        store.append("thing-1", [Counted()], expected_version=7)
    assert reservations.reserved_by("name", "x") is None


def test_a_value_is_reserved_once() -> None:
    reservations.reserve("name", "x", "thing-1")
    reservations.reserve("name", "x", "thing-1")
    with pytest.raises(reservations.Reserved):
        reservations.reserve("name", "x", "thing-2")
    reservations.release("name", "x", "thing-2")
    assert reservations.reserved_by("name", "x") == "thing-1"
    reservations.release("name", "x", "thing-1")
    reservations.reserve("name", "x", "thing-2")


def test_the_log_is_read_in_order_by_page_category_type_and_end() -> None:
    for number in range(7):
        store.append(f"{'even' if number % 2 == 0 else 'odd'}-{number}", [Counted(number)], expected_version=0)
    assert [recorded.data["n"] for recorded in store.read_all()] == list(range(7))
    assert [recorded.data["n"] for recorded in store.read_all(after=2, limit=3)] == [2, 3, 4]
    assert [recorded.data["n"] for recorded in store.read_all(category="odd")] == [1, 3, 5]
    assert [recorded.data["n"] for recorded in store.read_all(category=["odd", "even"], until=4)] == [0, 1, 2, 3]
    assert list(store.read_all(types=["eventlog.Other"])) == []


def test_pages_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGE", 3)
    monkeypatch.setattr(store, "STREAMS_PAGE", 3)
    for number in range(10):
        store.append(f"thing-{number % 2}", [Counted(number)], expected_version=number // 2)
    assert [recorded.data["n"] for recorded in store.read_all()] == list(range(10))
    assert [recorded.data["n"] for recorded in store.read_all(limit=7)] == list(range(7))
    for ahead in (True, False):
        history = store.read_streams("thing", until=10, ahead=ahead)
        by_stream = [(recorded.stream, recorded.data["n"]) for recorded in history]
        assert by_stream == [("thing-0", n) for n in range(0, 10, 2)] + [("thing-1", n) for n in range(1, 10, 2)]


@pytest.mark.parametrize("page", [1, 2, 5, 1000])
def test_a_stream_is_read_from_either_end_between_two_bounds(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(store, "PAGE", page)
    store.append("thing-2", [Counted(0)] * 3, expected_version=0)
    store.append("thing-1", [Counted(n) for n in range(1, 6)], expected_version=0)
    base = store.head() - 5

    def read(**bounds: Any) -> list[int]:
        return [recorded.stream_version for recorded in store.read_stream("thing-1", **bounds)]

    assert read() == [1, 2, 3, 4, 5]
    assert read(backwards=True) == [5, 4, 3, 2, 1]
    assert read(after_version=2) == [3, 4, 5]
    assert read(after_version=2, backwards=True) == [5, 4, 3]
    assert read(after_version=1, until=base + 4, limit=2) == [2, 3]
    assert read(after_version=1, until=base + 4, limit=2, backwards=True) == [4, 3]
    assert read(limit=0) == read(limit=-1) == read(after_version=5) == read(until=base) == []
    assert read(limit=9) == [1, 2, 3, 4, 5]


def test_the_last_event_of_a_stream_and_the_positions_of_its_versions() -> None:
    assert store.last("thing-1") is None
    store.append("thing-2", [Counted(0)], expected_version=0)
    store.append("thing-1", [Counted(1), Counted(2)], expected_version=0)
    last = store.last("thing-1")
    assert last is not None
    assert (last.stream_version, last.event) == (2, Counted(2))
    positions = [store.position_of("thing-1", version) for version in (1, 2, 3, None)]
    assert positions == [last.position - 1, last.position, None, last.position]
    assert store.position_of("thing-3") is None
    assert store.event_at(last.position) == last
    with pytest.raises(LookupError, match="no event at position 99"):
        store.event_at(99)
    firsts = store.first_events(["thing-1", "thing-2", "thing-3"])
    assert sorted(recorded.stream for recorded in firsts) == ["thing-1", "thing-2"]
    assert store.first_events([]) == []


def test_iterators_hold_a_page_and_not_the_log() -> None:
    for number in range(5):
        store.append("thing-1", [Counted(n) for n in range(1000)], expected_version=number * 1000)
    whole = _peak(lambda: len(list(store.read_stream("thing-1"))))
    assert _peak(lambda: sum(1 for _ in store.read_stream("thing-1"))) < whole / 2
    assert _peak(lambda: sum(1 for _ in store.read_stream("thing-1", backwards=True))) < whole / 2
    assert _peak(lambda: sum(1 for _ in store.read_all())) < whole / 2
    assert _peak(lambda: store.last("thing-1")) < whole / 20


def _peak(work: Callable[[], Any]) -> int:
    """The most bytes that Python held for a piece of work."""
    work()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_each_condition_says_which_events_are_read() -> None:
    """Alone and together, as a reader would filter them."""
    ids = [UUID(int=number) for number in (1, 2)]
    for number in range(8):
        stream, other = f"thing-{number % 2}", "Ann" if number % 3 else "B'n\""
        events = [Counted(number), Named(other)]
        store.append(
            stream, events, expected_version=number // 2 * 2, metadata={"correlation_id": str(ids[number // 4])}
        )
    log = list(store.read_all())
    middle = log[7].recorded_at
    conditions: list[tuple[dict[str, Any], Callable[[RecordedEvent], bool]]] = [
        ({"stream": "thing-1"}, lambda each: each.stream == "thing-1"),
        ({"types": [Named.type]}, lambda each: each.type == Named.type),
        ({"correlation_id": str(ids[1])}, lambda each: each.metadata["correlation_id"] == str(ids[1])),
        ({"since": middle}, lambda each: each.recorded_at >= middle),
        ({"naming": ("name", "B'n\"")}, lambda each: each.data.get("name") == "B'n\""),
        ({"category": ["thing", "none"]}, lambda each: True),
        ({"category": []}, lambda each: False),
    ]
    for (first, holds), (second, holds_too) in combinations([({}, lambda each: True), *conditions], 2):
        if first.keys() == second.keys():
            continue
        for after, end in ((0, log[-1].position), (log[4].position, log[11].position)):
            wanted = [each for each in log if after < each.position <= end and holds(each) and holds_too(each)]
            assert store.read_page(after=after, end=end, limit=100, **first | second) == wanted
            back = store.read_page(after=after, end=end, limit=3, backwards=True, **first | second)
            assert back == wanted[:-4:-1]
            assert list(store.read_all(after=after, until=end, limit=2, **first | second)) == wanted[:2]


def test_events_are_counted_and_looked_for_between_two_positions() -> None:
    for number in range(6):
        store.append(f"{'even' if number % 2 == 0 else 'odd'}-{number}", [Counted(number)], expected_version=0)
    at = [recorded.position for recorded in store.read_all()]
    assert (store.count(), store.count(category="odd"), store.count(category=("odd", "even"))) == (6, 3, 6)
    assert (store.count(after=at[1]), store.count(until=at[1]), store.count(after=at[1], until=at[4])) == (4, 2, 3)
    assert (store.count(after=at[0], until=at[3], category="odd"), store.count(category=())) == (2, 0)
    for low, high in product([0, *at], at):
        between = [number for number in range(6) if low < at[number] <= high]
        odd = any(number % 2 for number in between)
        assert store.any_after(low, until=high, category=["odd", "none"]) == odd
        assert store.any_after(low, until=high, types=[Counted.type]) == bool(between)


AWKWARD = ['","', "],[", "a b\\", "Żółć \U0001f600", "100 %s"]


def test_text_that_looks_like_the_form_of_a_page_comes_back() -> None:
    for number, text in enumerate(AWKWARD):
        store.append(f"thing-{text}", [Counted(number)] * 2, expected_version=0, metadata={"reason": [text, {text: 1}]})
    page = list(store.read_all())
    assert [recorded.stream for recorded in page[::2]] == [f"thing-{text}" for text in AWKWARD]
    assert [recorded.metadata["reason"] for recorded in page[::2]] == [[text, {text: 1}] for text in AWKWARD]
    assert [recorded.data["n"] for recorded in page] == [n for number in range(len(AWKWARD)) for n in [number] * 2]


@pytest.mark.sqlite
def test_a_row_whose_data_is_two_documents_does_not_shift_the_others() -> None:
    store.append("thing-1", [Counted(1), Counted(2)], expected_version=0)
    with LOG.cursor() as cursor, lifted(cursor):
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute("UPDATE eventlog_event SET data = '{},{}' WHERE position = 1")
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        list(store.read_all())


def test_every_form_of_the_row_has_the_same_columns() -> None:
    assert list(columns.NAMES) == [field.column for field in StoredEvent._meta.concrete_fields]
    assert canonical_form.Row.__struct_fields__ == columns.NAMES
    assert [column.name for column in columns.READ] == list(FIELDS)


def test_an_instant_means_the_prefix_up_to_it() -> None:
    for number in range(3):
        store.append("thing-1", [Counted(number)], expected_version=number)
    first, second, _ = store.read_stream("thing-1")
    assert store.position_at(second.recorded_at) >= second.position
    assert store.position_at(first.recorded_at - timedelta(seconds=1)) == 0
    assert [recorded.position for recorded in store.read_stream("thing-1", until=second.position)] == [1, 2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventlog_event SET type = 'forged'",
        "UPDATE eventlog_event SET data = '{}' WHERE position = 1",
        "DELETE FROM eventlog_event",
        "DELETE FROM eventlog_event WHERE position = 1",
    ],
)
def test_the_database_itself_refuses_to_change_an_event(statement: str) -> None:
    store.append("thing-1", [Counted(1)], expected_version=0)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute(statement)
    assert numbers("thing-1") == [1]


@pytest.mark.postgres
def test_postgresql_refuses_truncate_and_a_chosen_position() -> None:
    store.append("thing-1", [Counted(1)], expected_version=0)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute("TRUNCATE eventlog_event")
    columns = "event_id, stream, stream_version, category, type, schema_version, data, metadata, recorded_at"
    forged = f"SELECT 99, gen_random_uuid(), 'x-1', {columns.split(', ', 2)[2]} FROM eventlog_event"
    with pytest.raises(DatabaseError, match="position"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute(f"INSERT INTO eventlog_event (position, {columns}) {forged}")


@pytest.mark.sqlite
@pytest.mark.parametrize("verb", ["REPLACE INTO", "INSERT OR REPLACE INTO", "INSERT OR IGNORE INTO", "INSERT INTO"])
@pytest.mark.parametrize(("position", "version"), [(1, 1), (3, 1), (1, 2), (3, 5)])
def test_sqlite_refuses_to_replace_an_event_or_to_leave_a_hole(verb: str, position: int, version: int) -> None:
    store.append("thing-1", [Counted(1)], expected_version=0)
    store.append("thing-2", [Counted(2)], expected_version=0)
    columns = "event_id, category, type, schema_version, data, metadata, correlation_id, recorded_at"
    forged = f"SELECT %s, 'thing-1', %s, {columns} FROM eventlog_event WHERE position = 1"
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute(
            f"{verb} eventlog_event (position, stream, stream_version, {columns}) {forged}", [position, version]
        )
    assert (numbers("thing-1"), numbers("thing-2")) == ([1], [2])


def test_events_move_to_another_log_as_they_were_recorded() -> None:
    for number in range(5):
        store.append(f"thing-{number % 2}", [Counted(number)], expected_version=number // 2, metadata={"actor": "me"})
    exported = [recorded.document() for recorded in store.read_all()]
    # As if this log held other streams of the same length already.
    documents = [document | {"stream": f"other-{document['stream']}", "event_id": uuid4()} for document in exported]
    assert import_documents(documents) == 5
    moved = [recorded.document() for recorded in store.read_all(after=5)]
    same = ("stream_version", "type", "data", "metadata", "recorded_at")
    assert [[new[name] for name in same] for new in moved] == [[old[name] for name in same] for old in exported]
    assert import_documents(documents) == 0


def test_positions_are_kept_where_the_log_is_shorter() -> None:
    document = {"event_id": uuid4(), "stream": "thing-1", "type": "eventlog.Counted", "schema_version": 1}
    document |= {"position": 40, "data": {"n": 1}, "metadata": {}, "recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}
    import_documents([document | {"stream_version": 1}])
    assert store.head() == store.safe_position() == 40
    assert store.append("thing-1", [Counted(2)], expected_version=1).position == 41


def test_the_log_knows_which_events_came_from_elsewhere() -> None:
    document = {"stream_version": 1, "type": "eventlog.Counted", "schema_version": 1, "data": {"n": 1}, "metadata": {}}
    document |= {"recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}

    def bring(*positions: int, stream_version: int = 1) -> None:
        each = [{"event_id": uuid4(), "stream": f"thing-{uuid4()}", "position": position} for position in positions]
        each[-1]["stream_version"] = stream_version
        import_documents([document | mine for mine in each])

    store.append("thing-1", [Counted(1)], expected_version=0)
    bring(5, 6)
    bring(7)
    assert store.append("thing-1", [Counted(2)], expected_version=1).position == 8
    bring(3)
    with pytest.raises(InvalidEvent, match="stream_version is 1, the next of thing-"):
        bring(10, 11, stream_version=2)
    store.append("thing-1", [Counted(3)], expected_version=2)
    ends = {recorded.position: store.import_end(recorded.position) for recorded in store.read_all()}
    last = store.head()
    assert ends == {1: None, 5: 7, 6: 7, 7: 7, 8: None, 9: 9, last: None}


def test_an_import_leaves_no_hole_in_a_stream() -> None:
    document = {"event_id": uuid4(), "stream": "thing-1", "type": "eventlog.Counted", "schema_version": 1}
    document |= {"position": 1, "data": {"n": 1}, "metadata": {}, "recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}
    with pytest.raises(InvalidEvent, match="stream_version is 1, the next of thing-1"):
        import_documents([document | {"stream_version": 2}])
    assert store.head() == 0


def test_the_clock_of_a_stream_never_goes_back_whatever_was_imported_around_it() -> None:
    """An import keeps instants, so the last event of the log may be older than the last of a stream."""
    document = {"type": "eventlog.Counted", "schema_version": 1, "stream_version": 1, "data": {"n": 1}, "metadata": {}}
    ahead = datetime.now(UTC) + timedelta(minutes=4)
    for position, at in ((1, ahead), (2, datetime(1999, 1, 1, tzinfo=UTC))):
        mine = {"event_id": uuid4(), "stream": f"thing-{position}", "position": position, "recorded_at": at}
        import_documents([document | mine])
    store.append("thing-1", [Counted(2)], expected_version=1)
    store.append("thing-3", [Counted(1)], expected_version=0)
    assert checker.in_one_order(list(store.read_all())) == []
    late, new = store.last("thing-1"), store.last("thing-3")
    assert late
    assert late.recorded_at == ahead + timedelta(microseconds=1)
    assert new
    assert new.recorded_at < ahead  # one clock that was ahead does not move those of other streams
