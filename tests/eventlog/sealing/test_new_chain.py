"""Seals over events that the log no longer has: sealing stops, and a new chain begins only on an operator's word."""

from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from apps.eventlog import store
from apps.eventlog.log.engine import engine
from apps.eventlog.management.commands import run_projectors
from apps.eventlog.models import Seal, StoredEvent
from apps.eventlog.sealing import seals
from tests.eventlog.events import Counted
from tests.support import tamper
from tests.support.tamper import unguarded

LAST = 30  # events of the log that was sealed


def append(number: int) -> None:
    for _ in range(number):
        store.append(f"thing-{uuid4()}", [Counted(1)], expected_version=0)


def go_back_below_the_seals(to: int, others: int) -> None:
    """Within `unguarded()`: the events beyond a position are lost, others come, and the seals are still there."""
    StoredEvent.objects.filter(position__gt=to).delete()
    for position in range(to + 1, to + 1 + others):
        row = tamper.rows()[0]
        row.event_id, row.stream, row.stream_version = uuid4(), f"thing-{uuid4()}", 1
        tamper.insert(row, position)
    with store.unit():
        engine().continue_after(max(LAST, to + others))


def seal(**options: Any) -> str:
    err = StringIO()
    call_command("seal_events", no_progress=True, stderr=err, **options)
    return err.getvalue()


def verify(**options: Any) -> str:
    out = StringIO()
    call_command("verify_log", no_progress=True, stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize("others", [0, 5, LAST - 20])
def test_a_seal_that_ends_with_another_event_stops_sealing(others: int) -> None:
    append(LAST)
    seal()
    with unguarded():
        go_back_below_the_seals(20, others)
        with pytest.raises(seals.CannotSeal):
            seals.seal_next()
        assert seals.went_back()
        with pytest.raises(CommandError, match="first bad position is 21"):
            verify()


def test_a_new_chain_is_recorded_for_ever_and_verified_from_then_on(tmp_path: Path) -> None:
    append(LAST)
    anchors = tmp_path / "anchors.jsonl"
    seal(export=anchors)
    with unguarded():
        go_back_below_the_seals(20, LAST - 20)
        assert "30 events" in seal(new_chain=True, reason="the backup of Monday was restored")
        _, second = Seal.objects.all()
        assert (second.after, second.until, second.reason) == (0, 30, "the backup of Monday was restored")
        said = verify()
        assert "note: seals 1 to 1 ended, and their events differ from position 21 on" in said
        assert "the backup of Monday was restored" in said
        assert "30 events are as they were sealed" in said
        for _ in range(2):  # an anchor knows no single event, only whether all are those of then
            with pytest.raises(CommandError, match="first bad position is 1"):
                verify(against=anchors)
            seal(export=anchors)  # the old anchors are in it too
        Seal.objects.filter(number=2).update(reason="another reason")
        with pytest.raises(CommandError, match="The log was changed"):
            verify()


def test_nobody_begins_a_new_chain_over_a_log_that_fits_its_seals() -> None:
    append(3)
    seal()
    with pytest.raises(CommandError, match="no new chain may begin"):
        seal(new_chain=True, reason="why not")
    for options in ({"new_chain": True}, {"reason": "alone"}, {"new_chain": True, "reason": " "}):
        with pytest.raises(CommandError, match="go together"):
            seal(**options)
    with pytest.raises(CommandError, match="at most 500"):
        seal(new_chain=True, reason="x" * 501)
    assert Seal.objects.count() == 1


def test_the_database_takes_a_reason_only_for_a_chain_that_begins_anew() -> None:
    append(3)
    first = seals._seal(seals.GENESIS, seals._batch_after(seals.GENESIS, 10), "the first chain needs none")
    with pytest.raises(DatabaseError, match="needs no reason"), transaction.atomic(using="eventlog"):
        seals._insert(first)
    seal()
    append(1)
    last = Seal.objects.get()
    wrong = seals._seal(last, seals._batch_after(last, 10))
    wrong.reason = "but it begins after the last seal"
    with pytest.raises(DatabaseError, match="continues the one before"), transaction.atomic(using="eventlog"):
        seals._insert(wrong)


@pytest.mark.parametrize("others", [0, 5, LAST - 20])
def test_a_worker_ends_with_an_error_and_says_what_to_do(others: int) -> None:
    append(LAST)
    seal()
    with unguarded():
        go_back_below_the_seals(20, others)
        with pytest.raises(CommandError, match=r"the seals stopped: .* seal_events --new-chain if you know why"):
            call_command("run_projectors", once=True, stdout=StringIO())
        err = StringIO()
        call_command("replay_events", no_progress=True, stdout=StringIO(), stderr=err)
        assert "The seals are over events that the log does not have" in err.getvalue()
        seal(new_chain=True, reason="the backup of Monday was restored")
        call_command("run_projectors", once=True, stdout=StringIO())
        call_command("replay_events", no_progress=True, stdout=StringIO(), stderr=(err := StringIO()))
        assert err.getvalue() == ""


def test_a_worker_that_follows_the_log_does_not_end_because_of_the_seals_alone() -> None:
    worker = run_projectors.Command(stdout=StringIO())
    append(LAST)
    seal()
    with unguarded():
        go_back_below_the_seals(20, 0)
        worker._seal(seals.Sealer())
    worker._require_same_log(["users"], and_seals=False)
    with pytest.raises(CommandError, match="the seals stopped"):
        worker._require_same_log(["users"], and_seals=True)
