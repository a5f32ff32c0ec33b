"""Imports: what comes in stays as it was, holds what it held, and stops at what is wrong, saying what is in."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.db import DatabaseError, connections

from apps.eventlog import reservations, store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption import data_keys
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Erasure
from apps.users.events import email_key
from apps.users.models import User
from apps.users.write import logins
from apps.users.write.aggregates import EMAIL
from apps.users.write.commands import DeactivateUser, EraseUser, ReactivateUser, RegisterUser
from tests.eventlog.events import Counted
from tests.support.erase import erase
from tests.support.exported import document, exported_log, import_lines, run
from tests.support.fold import folded, projected
from tests.support.history import make_history


def registered(email: str, user: UUID | None = None, **changes: Any) -> dict[str, Any]:
    data = {"email": email, "name": "Ann"}
    return document(stream=f"user-{user or uuid4()}", type="users.UserRegistered", data=data) | changes


def next_of(line: dict[str, Any], type: str, **data: Any) -> dict[str, Any]:
    return document(stream=line["stream"], stream_version=line["stream_version"] + 1, type=type, data=data)


def user_of(line: dict[str, Any]) -> UUID:
    return UUID(line["stream"].removeprefix("user-"))


def holder(email: str) -> str | None:
    return reservations.reserved_by(EMAIL, email_key(email))


BAD: list[tuple[bytes, str]] = [
    (b"", "this line is empty"),
    (b"   ", "this line is empty"),
    (b"{", "truncated"),
    (b"null", "Expected `object`"),
    (b"[]", "Expected `object`"),
    (b"\xff\xfe{}", "JSON is malformed|utf-8"),
    (json.dumps(document(data={"n": 1e999})).encode(), "malformed"),
    (json.dumps(document(type="of.Nobody", data={"a": "\udc80"})).encode(), "surrogate"),
    (json.dumps(document()).replace('"n": 1', '"n": 1e400').encode(), "out of range|at most 400"),
    (json.dumps(document(type="of.Nobody")).replace('"n": 1', '"n": 1e-999999999').encode(), "at most 400 digits"),
    (json.dumps(document(type="of.Nobody")).replace('"n": 1', '"n": 0.' + "0" * 400).encode(), "at most 400 digits"),
    (json.dumps(document(type="of.Nobody")).replace('"n": 1', '"n": 1e99999999999999999999').encode(), "400 digits"),
    (json.dumps(document(type="of.Nobody")).replace('"n": 1', '"n": ' + "1" * 5000).encode(), "out of range"),
    (json.dumps(document(note="mine")).encode(), "unknown field `note`"),
    (json.dumps(document(event_id="5")).encode(), "event_id"),
    (json.dumps(document(recorded_at="yesterday")).encode(), "recorded_at"),
    (json.dumps(document(recorded_at=1700000000)).encode(), "recorded_at"),
    (json.dumps(document(position="1")).encode(), "position"),
    (json.dumps(document(position=1.5)).encode(), "position"),
    (json.dumps({k: v for k, v in document().items() if k != "metadata"}).encode(), "metadata"),
    (b'{"data":' + b"[" * 5000, "recursion|truncated"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_line_that_is_no_event_is_named_in_one_line(line: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=rf"log\.jsonl, line 3: .*({reason})") as refusal:
        import_lines(tmp_path, document(), document(), line, document())
    assert str(refusal.value).endswith("(2 events were imported; the log ends at 2)")
    assert len(str(refusal.value).splitlines()) == 1
    assert store.head() == 2


@pytest.mark.parametrize("damage", [lambda file: file[:-200], lambda file: b"no gzip", lambda file: file + b"x" * 9])
def test_a_damaged_gzip_says_how_much_is_in(damage: Any, tmp_path: Path) -> None:
    lines = "".join(json.dumps(document()) + "\n" for _ in range(40)).encode()
    (tmp_path / "log.jsonl.gz").write_bytes(damage(gzip.compress(lines)))
    with pytest.raises(CommandError, match=r"after line \d+: the gzip file is cut off or damaged") as refusal:
        run("import_events", str(tmp_path / "log.jsonl.gz"))
    assert f"({store.head()} events were imported; the log ends at {store.head()})" in str(refusal.value)


def test_an_empty_file_and_the_same_lines_again_import_nothing(tmp_path: Path) -> None:
    lines = [document(), document()]
    assert "0 events imported, 0 were there already" in import_lines(tmp_path)
    assert "2 events imported, 0 were there already" in import_lines(tmp_path, *lines)
    assert "1 events imported, 2 were there already" in import_lines(tmp_path, *lines, document())
    assert "0 events imported, 2 were there already" in import_lines(tmp_path, lines[0], lines[0])


@pytest.mark.parametrize("at", [0, 1, 499, 500, 501, 1203])
def test_whatever_line_is_refused_all_before_it_are_in_and_none_after(at: int, tmp_path: Path) -> None:
    lines = [document(position=number) for number in range(1, 1205)]
    lines[at]["stream_version"] = 2
    refused = rf"line {at + 1}: .*stream_version is 1.*\({at} events were imported"
    with pytest.raises(CommandError, match=refused):
        import_lines(tmp_path, *lines)
    assert [recorded.position for recorded in store.read_all()] == list(range(1, at + 1))
    lines[at]["stream_version"] = 1
    assert f"{1204 - at} events imported, {at} were there already" in import_lines(tmp_path, *lines)


def test_a_database_that_fails_half_way_leaves_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = store.import_events, []

    def fail_at_the_second(events: Any, check: Any) -> int:
        calls.append(len(events))
        if len(calls) == 2:
            raise DatabaseError("the disk is full\nDETAIL: very")
        return write(events, check)

    monkeypatch.setattr(store, "import_events", fail_at_the_second)
    lines = [document(position=number) for number in range(1, 601)]
    with pytest.raises(CommandError, match=r"^the disk is full: run it again .* \(500 events were imported") as refusal:
        import_lines(tmp_path, *lines)
    assert "DETAIL" not in str(refusal.value)
    assert store.head() == 500
    assert "100 events imported, 500 were there already" in import_lines(tmp_path, *lines)


CHANGES: list[dict[str, Any]] = [
    {"data": {"n": 2}},
    {"metadata": {"actor": "me"}},
    {"schema_version": 2, "data": {}},
    {"type": "of.Nobody"},
    {"stream": "thing-other"},
    {"stream_version": 2},
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stored", [True, False])
def test_one_id_on_two_events_is_reported(change: dict[str, Any], stored: bool, tmp_path: Path) -> None:
    first = document()
    second = first | change
    if stored:
        import_lines(tmp_path, first)
    taken = rf"line {1 if stored else 2}: the event id {first['event_id']} is taken by eventlog.Counted at version 1 of"
    with pytest.raises(CommandError, match=taken):
        import_lines(tmp_path, *([] if stored else [first]), second)
    assert store.head() == 1


def test_an_import_knows_the_ids_of_appends_and_the_reverse(tmp_path: Path) -> None:
    id = uuid4()
    store.append("thing-1", [Counted(1)], expected_version=0, event_ids=[id])
    with pytest.raises(CommandError, match=f"the event id {id} is taken"):
        import_lines(tmp_path, document(event_id=str(id)))
    line = document()
    import_lines(tmp_path, line)
    for version in (0, store.ANY):
        with pytest.raises(store.EventIdTaken, match=line["event_id"]):
            store.append("thing-2", [Counted(1)], expected_version=version, event_ids=[UUID(line["event_id"])])


DIGITS = ["0.10", "1.000", "12345678901234567.5", "0.1234567890123456789", "100000000000000000000000", "2.50"]


def test_numbers_keep_their_digits_on_both_engines(tmp_path: Path) -> None:
    text = json.dumps(document(type="of.Nobody", data={"a": 0}, metadata={"b": 0}))
    text = text.replace('"a": 0', f'"a": [{", ".join(DIGITS)}, 1e2, -0.0, 1.5E-7]')
    text = text.replace('"b": 0', '"b": {"c": 1.10, "a": 7}')
    import_lines(tmp_path, text)
    written = f'"data":{{"a":[{",".join(DIGITS)},100,0.0,0.00000015]}},"metadata":{{"b":{{"a":7,"c":1.10}}}}'
    assert written.encode() in exported_log(tmp_path)


def test_exporting_importing_and_exporting_again_gives_the_same_bytes(tmp_path: Path) -> None:
    make_history(users=4, commands=30)
    dispatch(EraseUser(next(iter(User.objects.all())).id, "asked"))
    odd = {"z": 1e-7, "a": [1.50, {"\u2028": '\u0080 \\ "'}], "ä": -0.0}
    import_lines(tmp_path, document(type="of.Nobody", data=odd, position=store.head() + 700))
    first, rows, erased = exported_log(tmp_path), projected(), set(Erasure.objects.values_list("subject", flat=True))
    keys = list(PersonalKey.objects.all())
    for alias in connections:
        erase(alias)
    PersonalKey.objects.bulk_create(keys)
    import_lines(tmp_path, *first.splitlines())
    assert exported_log(tmp_path) == first
    assert projected() == rows == folded()
    assert set(Erasure.objects.values_list("subject", flat=True)) == erased


def test_imported_users_hold_their_addresses_as_the_others_do(tmp_path: Path) -> None:
    stays, left, back, moved = (registered(f"{name}@example.org") for name in ("stays", "left", "back", "moved"))
    leaves = next_of(back, "users.UserDeactivated", reason="r")
    import_lines(
        tmp_path,
        *[stays, left, back, moved, leaves, next_of(leaves, "users.UserReactivated")],
        next_of(left, "users.UserDeactivated", reason="r"),
        next_of(moved, "users.UserEmailChanged", email="new@example.org"),
    )
    held = {name: holder(f"{name}@example.org") for name in ("stays", "left", "back", "moved", "new")}
    expected = {"stays": stays["stream"], "left": None, "back": back["stream"], "moved": None, "new": moved["stream"]}
    assert held == expected
    with pytest.raises(reservations.Reserved):
        dispatch(RegisterUser(uuid4(), "STAYS@example.org", "Bob"))
    dispatch(RegisterUser(uuid4(), "left@example.org", "Bob"))
    with pytest.raises(reservations.Reserved):
        dispatch(ReactivateUser(user_of(left)))


def test_two_active_holders_refuse_the_import_and_are_both_named(tmp_path: Path) -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "zoë@example.org", "Zoë"))
    twice = [registered("Bob@example.org"), registered("bob@EXAMPLE.org")]
    clash = rf"line 2: {twice[1]['stream']} and {twice[0]['stream']} both hold one email.*\(1 events were imported"
    with pytest.raises(CommandError, match=clash):
        import_lines(tmp_path, *twice)
    with pytest.raises(CommandError, match=rf"line 1: user-.* and user-{ann} both hold one email"):
        import_lines(tmp_path, registered("ZOE\u0308@example.org"))
    assert store.head() == 2
    dispatch(DeactivateUser(ann, "left"))
    import_lines(tmp_path, registered("ZOE\u0308@example.org", position=99))
    assert store.head() == store.last_position() == 99


def test_an_address_that_passes_from_one_to_another_within_a_file_is_no_clash(tmp_path: Path) -> None:
    for gap in (0, 600):  # in one transaction, and in two
        first, second = registered("a@example.org"), registered("a@example.org")
        between = [document() for _ in range(gap)]
        leaves = next_of(first, "users.UserDeactivated", reason="r")
        import_lines(tmp_path, first, leaves, *between, second, next_of(second, "users.UserDeactivated", reason="r"))
        assert holder("a@example.org") is None


def test_an_imported_erasure_is_carried_out_as_one_of_here(tmp_path: Path) -> None:
    user = uuid4()
    with logins.opening(user, "correct horse"):
        dispatch(RegisterUser(user, "ann@example.org", "Ann"))
    line = registered("", user)
    erased = next_of(line, "users.UserErased", reason="asked for") | {"recorded_at": datetime.now(UTC).isoformat()}
    import_lines(tmp_path, erased)
    assert User.objects.get().name == User.objects.get().email == "[erased]"
    assert not get_user_model().objects.exists()
    assert data_keys.find([user]) == {}
    assert Erasure.objects.get().subject == user
    assert holder("ann@example.org") is None
    back = next_of(erased, "users.UserRenamed", name="Ann again") | {"recorded_at": datetime.now(UTC).isoformat()}
    with pytest.raises(CommandError, match=r"line 1: .*erased"):
        import_lines(tmp_path, back)


def test_clear_text_in_a_file_is_encrypted_in_the_log(tmp_path: Path) -> None:
    line = registered("ann@example.org")
    import_lines(tmp_path, line)
    assert b"ann@example.org" not in exported_log(tmp_path)
    assert User.objects.get().email == "ann@example.org"
    assert "1 were there already" in import_lines(tmp_path, line)  # the same text is the same event


def test_a_file_without_its_keys_is_reserved_once_they_are_here(tmp_path: Path) -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    lines, keys = exported_log(tmp_path).splitlines(), list(PersonalKey.objects.all())
    for alias in connections:
        erase(alias)
    assert "1 streams cannot be read without their data keys" in import_lines(tmp_path, *lines)
    with pytest.raises(CommandError, match=f"cannot be read .user-{ann}"):
        run("rebuild_reservations")
    PersonalKey.objects.bulk_create(keys)
    assert "as the log says" in run("rebuild_reservations")
    assert holder("ann@example.org") == f"user-{ann}"


def test_reservations_are_made_again_from_the_log_whatever_is_there(tmp_path: Path) -> None:
    people = [uuid4() for _ in range(3)]
    for number, person in enumerate(people):
        dispatch(RegisterUser(person, f"u{number}@example.org", "U"))
    dispatch(DeactivateUser(people[2], "left"))
    reservations.release_all(f"user-{people[0]}")
    reservations.reserve(EMAIL, "stray@example.org", f"user-{uuid4()}")
    reservations.reserve(EMAIL, "u2@example.org", f"user-{people[2]}")
    for _ in range(2):
        run("rebuild_reservations")
        held = {number: holder(f"u{number}@example.org") for number in range(3)}
        assert held == {0: f"user-{people[0]}", 1: f"user-{people[1]}", 2: None}
        assert holder("stray@example.org") is None


def test_an_instant_ahead_keeps_its_own_stream_in_order_and_moves_no_other(tmp_path: Path) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=4)).replace(microsecond=7)
    line = document(recorded_at=ahead.isoformat())
    import_lines(tmp_path, line)
    import_lines(tmp_path, next_of(line, "eventlog.Counted", n=2))
    second = store.last(line["stream"])
    assert second
    assert second.recorded_at == ahead
    store.append(line["stream"], [Counted(2)], expected_version=store.EXISTS)
    store.append("thing-1", [Counted(2)], expected_version=store.ANY)
    late, new = store.last(line["stream"]), store.last("thing-1")
    assert late
    assert new
    assert late.recorded_at == ahead + timedelta(microseconds=1)
    assert new.recorded_at < ahead


def test_prices_of_a_file_are_decimal_strings_of_their_currency(tmp_path: Path) -> None:
    def order(price: Any, **change: Any) -> dict[str, Any]:
        lines = [{"sku": "A", "quantity": 3, "unit_price": price} | change]
        data = {"customer_id": str(uuid4()), "currency": "JOD", "lines": lines}
        return document(stream=f"order-{uuid4()}", type="orders.OrderPlaced", data=data)

    wrong = [2.5, 3, "1.2345", "-1", "NaN", "1e3", "", None, "1,5"]
    for line in [
        *[order(price) for price in wrong],
        order("1", quantity=0),
        order("1", quantity="2"),
        order("1", sku=1),
    ]:
        with pytest.raises(CommandError, match=r"line 1: orders\.OrderPlaced"):
            import_lines(tmp_path, line)
    import_lines(tmp_path, order("1.125"))
    assert projected()["summary"] == {"2024-02-29 JOD": {"orders": 1, "revenue": str(3 * Decimal("1.125"))}}
