"""The storage contract: what `apps.eventlog.store` promises on every engine."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction

from apps.eventlog import reservations, store
from apps.eventlog.events import FIELDS
from apps.eventlog.log.queries import of_columns
from apps.eventlog.management.commands.import_events import Line
from apps.eventlog.models import Import
from tests.eventlog.events import Counted
from tests.support import checker

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


AWKWARD = ['","', "],[", "a\nb\\", "Żółć \U0001f600", "100 %s"]


def test_many_events_are_read_as_few_are() -> None:
    assert store.recorded_page(store.find()) == []
    for number, text in enumerate(AWKWARD):
        store.append(f"thing-{text}", [Counted(number)] * 2, expected_version=0, metadata={"reason": [text, {text: 1}]})
    page = store.recorded_page(store.find())
    assert [recorded.document() for recorded in page] == [recorded.document() for recorded in store.read_all()]
    assert [recorded.metadata["reason"][0] for recorded in page[::2]] == AWKWARD


def test_a_column_that_is_too_short_is_no_page() -> None:
    columns = [[number, number] for number in range(len(FIELDS))]
    assert len(of_columns(*columns)) == 2
    with pytest.raises(ValueError, match="shorter"):
        of_columns(*columns[:-1], columns[-1][:1])


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
    documents = [msgspec.structs.asdict(msgspec.convert(document, Line)) for document in exported]
    for document in documents:  # as if this log held other streams of the same length already
        document["stream"] = f"other-{document['stream']}"
        document["event_id"] = UUID(int=document["event_id"].int ^ 1)
    assert store.restore(documents) == 5
    moved = [recorded.document() for recorded in store.read_all(after=5)]
    same = ("stream_version", "type", "data", "metadata", "recorded_at")
    assert [[new[name] for name in same] for new in moved] == [[old[name] for name in same] for old in exported]
    assert store.restore(documents) == 0


def test_positions_are_kept_where_the_log_is_shorter() -> None:
    document = {"event_id": uuid4(), "stream": "thing-1", "type": "eventlog.Counted", "schema_version": 1}
    document |= {"position": 40, "data": {"n": 1}, "metadata": {}, "recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}
    store.restore([document | {"stream_version": 1}])
    assert store.head() == store.safe_position() == 40
    assert store.append("thing-1", [Counted(2)], expected_version=1).position == 41


def test_the_log_knows_which_events_came_from_elsewhere() -> None:
    document = {"stream_version": 1, "type": "eventlog.Counted", "schema_version": 1, "data": {"n": 1}, "metadata": {}}
    document |= {"recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}

    def bring(*positions: int, stream_version: int = 1) -> None:
        each = [{"event_id": uuid4(), "stream": f"thing-{uuid4()}", "position": position} for position in positions]
        each[-1]["stream_version"] = stream_version
        store.restore([document | mine for mine in each])

    store.append("thing-1", [Counted(1)], expected_version=0)
    bring(5, 6)
    bring(7)
    assert store.append("thing-1", [Counted(2)], expected_version=1).position == 8
    bring(3)
    with pytest.raises(IntegrityError):
        bring(10, 11, stream_version=2)
    store.append("thing-1", [Counted(3)], expected_version=2)
    ends = {recorded.position: Import.end_at(recorded.position) for recorded in store.read_all()}
    last = store.head()
    assert ends == {1: None, 5: 7, 6: 7, 7: 7, 8: None, 9: 9, last: None}


def test_an_import_leaves_no_hole_in_a_stream() -> None:
    document = {"event_id": uuid4(), "stream": "thing-1", "type": "eventlog.Counted", "schema_version": 1}
    document |= {"position": 1, "data": {"n": 1}, "metadata": {}, "recorded_at": datetime(1999, 1, 1, tzinfo=UTC)}
    with pytest.raises(IntegrityError, match="only the next event fits"):
        store.restore([document | {"stream_version": 2}])
    assert store.head() == 0


def test_the_clock_of_a_stream_never_goes_back_whatever_was_imported_around_it() -> None:
    """An import keeps instants, so the last event of the log may be older than the last of a stream."""
    document = {"type": "eventlog.Counted", "schema_version": 1, "stream_version": 1, "data": {"n": 1}, "metadata": {}}
    for position, year in ((1, 2050), (2, 1999)):
        at = datetime(year, 1, 1, tzinfo=UTC)
        mine = {"event_id": uuid4(), "stream": f"thing-{year}", "position": position, "recorded_at": at}
        store.restore([document | mine])
    store.append("thing-2050", [Counted(2)], expected_version=1)
    assert checker.in_one_order(list(store.read_all())) == []
