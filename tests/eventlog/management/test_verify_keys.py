"""`manage.py verify_keys` says which data keys are missing, and which open nothing."""

import tracemalloc
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption import data_keys
from apps.eventlog.events import RecordedEvent
from apps.eventlog.privacy import verify_keys
from apps.users.write.commands import EraseUser, RegisterUser
from tests.eventlog.encryption.test_data_keys import lose, made
from tests.eventlog.events import ParcelSent
from tests.support.erase import forget_erasures
from tests.support.exported import import_documents


def verify() -> str:
    out = StringIO()
    call_command("verify_keys", "--no-progress", stdout=out)
    return out.getvalue()


def people(number: int) -> list[UUID]:
    ids = sorted(uuid4() for _ in range(number))
    for index, person in enumerate(ids):
        dispatch(RegisterUser(person, f"v{index}@example.net", f"V {index}"))
    return ids


def test_missing_keys_are_counted_and_named_and_erasures_are_not_among_them() -> None:
    ann, bob, carla, dora = people(4)
    assert verify() == "no data key is missing\n"
    dispatch(EraseUser(dora, "by letter"))
    dispatch(EraseUser(carla, "by letter"))
    lose(carla)  # the ledger knows of her
    assert verify() == "no data key is missing\n"
    lose(ann, bob)
    with pytest.raises(CommandError, match=rf"^2 data keys \({ann}, {bob}\) are missing, .* backup") as error:
        verify()
    assert error.value.returncode == 1
    forget_erasures()
    with pytest.raises(CommandError, match=r"^3 data keys"):
        verify()


def test_keys_that_open_nothing_are_told_and_are_no_fault() -> None:
    people(2)
    stray = uuid4()
    made(stray)
    assert verify().splitlines() == [
        f"1 data keys ({stray}) open nothing in the log; this does no harm",
        "no data key is missing",
    ]


def test_events_that_name_a_person_and_events_of_unknown_types_count_too() -> None:
    one, other = sorted((uuid4(), uuid4()))
    store.append("parcel-1", [ParcelSent(one, "1 Quay Street")], expected_version=0)
    sealed = {"subject": str(other), "sealed": "AAAA"}
    document = {
        "position": 9, "event_id": uuid4(), "stream": "letter-1", "stream_version": 1, "type": "post.LetterSent",
        "schema_version": 3, "data": {"to": sealed}, "metadata": {}, "recorded_at": datetime.now(UTC),
    }  # fmt: skip
    import_documents([document])
    lose(one)
    with pytest.raises(CommandError, match=rf"2 data keys \({one}, {other}\)"):
        verify()


def test_the_key_of_the_reservations_is_missed_too() -> None:
    people(1)
    lose(data_keys.INSTALLATION)
    with pytest.raises(CommandError, match="1 data keys"):
        verify()


def test_a_person_who_registers_during_the_pass_is_neither_missing_nor_unneeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(2)
    read_page = store.read_page

    def with_another(**conditions: Any) -> list[RecordedEvent]:
        monkeypatch.setattr(store, "read_page", read_page)
        dispatch(RegisterUser(uuid4(), "late@example.net", "Late"))
        return read_page(**conditions)

    monkeypatch.setattr(store, "read_page", with_another)
    assert verify() == "no data key is missing\n"


def test_more_people_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(number: int) -> int:
        ids = [uuid4() for _ in range(number)]
        monkeypatch.setattr(verify_keys, "_needed", lambda _: iter(ids))
        monkeypatch.setattr(verify_keys, "_without_key", lambda subjects: subjects)
        tracemalloc.start()
        report = verify_keys.verify_keys(lambda _: None)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (report.missing.number, len(report.missing.first)) == (number, verify_keys.NAMED)
        return size

    peak(2000)  # what a first call loads
    assert peak(20_000) < 1.5 * peak(2000)


def test_a_database_that_does_not_answer_is_not_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(store, "read_all", away)
    with pytest.raises(CommandError, match="cannot be checked: the server closed") as error:
        verify()
    assert error.value.returncode == 2
