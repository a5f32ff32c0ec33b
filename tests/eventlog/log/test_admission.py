"""What may enter the log: every rule holds at both of its doors, `append` and an import, before anything is written."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, InvalidEvent
from apps.orders.events import OrderCancelled, OrderLine, OrderPlaced
from apps.users.events import UserDeactivated, UserRenamed
from tests.eventlog.events import Counted, Named, Parcel, Weighed
from tests.support.exported import document, import_lines

KILO, NOW = Decimal("1.250"), datetime(2026, 3, 1, tzinfo=UTC)
LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def placed(price: str, currency: str = "EUR", quantity: int = 1) -> OrderPlaced:
    return OrderPlaced(uuid4(), currency, (OrderLine("A", quantity, Decimal(price)),))


WRONG: list[tuple[Any, str, str]] = [
    (Counted("3"), "n", "Expected `int`"),  # type: ignore[arg-type]
    (Counted(None), "n", "Expected `int`"),  # type: ignore[arg-type]
    (Counted(n=True), "n", "Expected `int`"),
    (Counted(2.5), "n", "Expected `int`"),  # type: ignore[arg-type]
    (Counted(10**5000), "data", "is JSON"),
    (Counted(-(10**400)), "data", "at most 400 digits"),
    (Named(b"Ann"), "name", "does not read back"),  # type: ignore[arg-type]
    (Named("Ann\0"), "data", "has no NUL"),
    (Named("\udc80"), "data", "UTF-8"),
    (Named("n" * 1024 * 1024), "data and metadata", "at most 1,048,576 bytes"),
    (Weighed(Decimal("NaN"), NOW), "kilograms", "does not read back"),
    (Weighed(Decimal("sNaN"), NOW), "kilograms", "does not read back"),
    (Weighed(Decimal(-1), NOW), "data", "nothing weighs less than nothing"),
    (Weighed(2, NOW), "kilograms", "another JSON type"),  # type: ignore[arg-type]
    (Weighed(1.25, NOW), "kilograms", "another JSON type"),  # type: ignore[arg-type]
    (Weighed(KILO, NOW, float("inf")), "ratio", "Expected `float`"),
    (Weighed(KILO, NOW, float("nan")), "ratio", "Expected `float`"),
    (Weighed(KILO, "2026-03-01T00:00:00Z"), "at", "does not read back"),  # type: ignore[arg-type]
    (Weighed(KILO, NOW, by=str(uuid4())), "by", "does not read back"),  # type: ignore[arg-type]
    (Weighed(KILO, NOW, parcels=[Parcel(1, KILO)]), "parcels", "does not read back"),  # type: ignore[arg-type]
    (Weighed(KILO, NOW, parcels=(Parcel(1, 3),)), "parcels[0].price", "another JSON type"),  # type: ignore[arg-type]
    (Weighed(KILO, NOW, notes={"a": (1, 2)}), "notes", "does not read back"),
    (Weighed(KILO, NOW, notes={"a": object()}), "data", "is JSON"),
    (Weighed(KILO, NOW, notes={"a": nested(19)}), "data", "at most 20 levels"),
    (Weighed(KILO, NOW, notes=LOOP), "data", "is JSON"),
    (placed("1.5", "JPY"), "data", "at most 0 decimals"),
    (placed("0.0001", "KWD"), "data", "at most 3 decimals"),
    (placed("-0.01"), "data", "is 0 or more"),
    (placed("Infinity"), "data", "is 0 or more"),
    (placed("1", quantity=0), "data", "quantity is 1 or more"),
    (placed("1", quantity=1_000_001), "data", "up to 1,000,000"),
    (placed("1000000000000"), "data", "below 1,000,000,000,000"),
    (UserRenamed("n" * 201), "data", "at most 200 characters"),
    (OrderCancelled("r" * 501, "requested"), "data", "at most 500 characters"),
    (placed("1", "EUX"), "data", "ISO 4217"),
    (OrderCancelled("r", "bored"), "cause", "Invalid enum value"),  # type: ignore[arg-type]
    (UserRenamed("[erased]"), "name", "forgotten person"),
    ("not an event", "type", "is a class of events"),
]


@pytest.mark.parametrize(("event", "field", "rule"), WRONG)
def test_an_append_says_which_event_breaks_which_rule_and_writes_nothing(event: Any, field: str, rule: str) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        store.append("thing-1", [Counted(1), event], expected_version=0)
    assert refusal.value.event == getattr(event, "type", "str")
    assert refusal.value.field == field
    assert rule in refusal.value.rule
    assert store.last_position() == 0


LINES: list[tuple[dict[str, Any], str, str]] = [
    ({"data": {"n": "3"}}, "n", "Expected `int`"),
    ({"data": [1]}, "data", "is an object"),
    ({"type": "of.NobodyHere", "data": {"a": [10**4100]}}, "data", "at most 400 digits"),
    ({"type": "eventlog.Named", "data": {"name": "Ann\0"}}, "data", "has no NUL"),
    ({"type": "eventlog.Named", "data": {"name": "n" * 1024 * 1024}}, "data and metadata", "at most 1,048,576 bytes"),
    ({"type": "of.NobodyHere", "data": {"a": nested(20)}}, "data", "at most 20 levels"),
    ({"metadata": {"a": nested(20)}}, "metadata", "at most 20 levels"),
    ({"metadata": {"correlation_id": ""}}, "metadata.correlation_id", "1 to 200 printable"),
    ({"metadata": {"correlation_id": 7}}, "metadata.correlation_id", "1 to 200 printable"),
    ({"metadata": None}, "metadata", "is an object"),
    ({"schema_version": 0}, "schema_version", "from 1 to 32,767"),
    ({"schema_version": 32_768}, "schema_version", "from 1 to 32,767"),
    ({"type": "t" * 201}, "type", "1 to 200 printable"),
    ({"type": "of\nNobody"}, "type", "1 to 200 printable"),
    ({"position": 0}, "position", "from 1 to 2\\*\\*53"),
    ({"position": 2**53 + 1}, "position", "from 1 to 2\\*\\*53"),
    ({"position": 10**9 + 2}, "position", "at most 1,000,000,000 beyond"),
    ({"stream_version": 0}, "stream_version", "1 or more"),
    ({"recorded_at": "2024-02-29T12:00:00"}, "recorded_at", "time zone"),
    ({"recorded_at": "1969-12-31T23:59:59.999999Z"}, "recorded_at", "1970"),
    ({"recorded_at": "0001-01-01T00:00:00+23:59"}, "recorded_at", "1970"),
    ({"recorded_at": "2199-01-01T00:00:00Z"}, "recorded_at", "five minutes from now"),
    ({"type": "orders.OrderCancelled", "data": {"reason": 1}}, "data|reason", "version 2|Expected"),
]


@pytest.mark.parametrize(("change", "field", "rule"), LINES)
def test_an_import_says_so_too_and_names_the_line(change: Any, field: str, rule: str, tmp_path: Path) -> None:
    line = document(**change)
    with pytest.raises(CommandError, match=rf"(?s)log\.jsonl, line 2: .*({field}) .*({rule})") as refusal:
        import_lines(tmp_path, document(), line)
    assert "(1 events were imported; the log ends at 1)" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert str(line["event_id"]) in str(refusal.value)
    assert store.head() == 1


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        ("thing", "<category>-<id>"),
        ("a b-1", "<category>-<id>"),
        ("thing-\u00a0", "<category>-<id>"),
        ("thing-1\0", "<category>-<id>"),
        ("thing-" + "7" * 195, "at most 200 characters"),
        (f"{'c' * 101}-1", "at most 200 characters"),
        (f"thing-{UUID(int=171)}".replace("ab", "AB"), "lower case with dashes"),
        (f"thing-{UUID(int=5).hex}", "lower case with dashes"),
        (f"thing-{{{UUID(int=5)}}}", "lower case with dashes"),
        (f"thing-urn:uuid:{UUID(int=5)}", "lower case with dashes"),
    ],
)
def test_the_name_of_a_stream_has_one_spelling(stream: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        store.append(stream, [Counted(1)], expected_version=0)
    with pytest.raises(CommandError, match=rf"line 1: .*{rule}"):
        import_lines(tmp_path, document(stream=stream))
    assert store.last_position() == 0


RIGHT = [
    Counted(-(2**70)),
    Counted(10**400 - 1),
    Named("7" * 500),
    Named("\U0001f600 n\u0303 \u2028 \ufeff \\u0000 " + "[" * 30),
    Named("n" * (1024 * 1024 - 13)),
    Weighed(Decimal("1E+3"), NOW, 1e-300, fragile=True, label="", by=UUID(int=0)),
    Weighed(Decimal("Infinity"), datetime(1, 1, 1, tzinfo=UTC)),
    Weighed(KILO, NOW, parcels=(Parcel(1, Decimal("-0.00")),), notes={"": [None, 1.0, {"a": nested(16)}]}),
    placed("12345678901.99"),
]


@pytest.mark.parametrize("event", RIGHT)
def test_what_keeps_every_rule_reads_back_equal_and_can_be_imported(event: DomainEvent, tmp_path: Path) -> None:
    store.append("thing-1", [event], expected_version=0)
    last = store.last("thing-1")
    assert last is not None
    assert last.event == event
    assert repr(last.event) == repr(event)
    copy = document(type=last.type, schema_version=last.schema_version, data=last.data)
    assert "1 events imported" in import_lines(tmp_path, copy)
    imported = store.last(copy["stream"])
    assert imported
    assert imported.event == event


@pytest.mark.parametrize(
    "metadata", [[1], "x", {"a": NOW}, {1: "a"}, {"a": float("nan")}, {"a": "\ud800"}, {"a": LOOP}]
)
def test_metadata_is_an_object_of_json_values(metadata: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"eventlog\.Counted: metadata "):
        store.append("thing-1", [Counted(1)], expected_version=0, metadata=metadata)
    assert store.last_position() == 0


def test_an_event_and_its_metadata_are_as_large_as_they_are_stored() -> None:
    half = "m" * 600_000
    with pytest.raises(InvalidEvent, match="at most 1,048,576 bytes as stored"):
        store.append("thing-1", [Named(half)], expected_version=0, metadata={"note": half})
    with pytest.raises(InvalidEvent, match="at most 1,048,576 bytes as stored"):  # encrypted, it takes a third more
        store.append(f"user-{uuid4()}", [UserDeactivated(half + half[:300_000])], expected_version=0)
    assert store.last_position() == 0


@pytest.mark.parametrize("version", [True, False, "1", 1.0, None, UUID(int=1)])
def test_an_expected_version_is_a_number_or_any_or_exists(version: Any) -> None:
    store.append("thing-1", [Counted(1)], expected_version=0)
    with pytest.raises(ValueError, match="a whole number"):
        store.append("thing-1", [Counted(2)], expected_version=version)
    assert store.head() == 1


@pytest.mark.parametrize("version", [-1, -2, 2**31, 2**80, -(2**80)])
def test_no_number_means_any_version(version: int) -> None:
    """PostgreSQL's function takes -1 and -2 for `ANY` and `EXISTS`; the door does not."""
    for stream, actual in (("thing-1", 0), ("thing-2", 1)):
        if actual:
            store.append(stream, [Counted(1)], expected_version=0)
        with pytest.raises(store.WrongExpectedVersion) as refusal:
            store.append(stream, [Counted(2)], expected_version=version)
        assert refusal.value.actual == actual


def test_any_takes_every_version_and_exists_all_but_none() -> None:
    with pytest.raises(store.WrongExpectedVersion, match="at version 0, not 1 or more"):
        store.append("thing-1", [Counted(0)], expected_version=store.EXISTS)
    expected = [store.ANY, store.EXISTS, store.ANY, store.EXISTS]
    versions = [store.append("thing-1", [Counted(n)], expected_version=e).version for n, e in enumerate(expected)]
    assert versions == [1, 2, 3, 4]


def test_a_class_that_its_events_are_not_read_as_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DomainEvent.types, Counted.type, Named)
    with pytest.raises(InvalidEvent, match="Counted: type "):
        store.append("thing-1", [Counted(1)], expected_version=0)


def test_the_same_append_is_known_by_all_of_it() -> None:
    ids = [uuid4(), uuid4()]
    events = [UserRenamed("Ann"), Named("b")]
    stream = f"user-{uuid4()}"
    first = store.append(stream, events, expected_version=0, event_ids=ids)
    for version in (0, 2, store.ANY, store.EXISTS):
        assert store.append(stream, events, expected_version=version, event_ids=ids) == first
    different: list[tuple[str, list[DomainEvent], list[UUID]]] = [
        (stream, events[:1], ids[:1]),
        (stream, [*events, Counted(3)], [*ids, uuid4()]),
        (stream, events[::-1], ids[::-1]),
        (stream, [UserRenamed("Bob"), Named("b")], ids),
        (f"user-{uuid4()}", events, ids),
        (stream, [Counted(1), *events[1:]], ids),
    ]
    for number, (other, some, taken) in enumerate(different):
        for version in (0, store.ANY):
            with pytest.raises(store.EventIdTaken, match=rf"{taken[0]}|{ids[0]}|{ids[1]}") as refusal:
                store.append(other, some, expected_version=version, event_ids=taken)
            assert refusal.value.event_id in ids, number
            assert refusal.value.whose.endswith(f"of {stream}")
    assert store.head() == first.position


def test_an_id_is_a_uuid_and_given_once() -> None:
    id = uuid4()
    with pytest.raises(store.EventIdTaken, match=f"{id} is taken by another event of this append"):
        store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, event_ids=[id, id])
    for ids in ([id, str(uuid4())], [None, id]):
        with pytest.raises(InvalidEvent, match="event_id"):
            store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, event_ids=ids)  # type: ignore[arg-type]
    for short in ([], [id], [id, uuid4(), uuid4()]):
        with pytest.raises(ValueError, match="zip"):
            store.append("thing-1", [Counted(1), Counted(2)], expected_version=0, event_ids=short)
    assert store.last_position() == 0


def test_a_repeat_in_a_unit_is_known_and_a_taken_id_leaves_the_unit_usable() -> None:
    id = uuid4()
    with store.unit():
        first = store.append("thing-1", [Counted(1)], expected_version=0, event_ids=[id])
        assert store.append("thing-1", [Counted(1)], expected_version=0, event_ids=[id]) == first
        with pytest.raises(store.EventIdTaken):
            store.append("thing-2", [Counted(1)], expected_version=0, event_ids=[id])
        store.append("thing-3", [Counted(3)], expected_version=0)
    assert [recorded.stream for recorded in store.read_all()] == ["thing-1", "thing-3"]
