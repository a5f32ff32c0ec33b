"""Seals: what they are over, who may write them, and what a chain of them is."""

import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import DatabaseError, DataError, connections, transaction

from apps.eventlog import store
from apps.eventlog.log.stored_rows import page as page_as_stored
from apps.eventlog.models import Seal, StoredEvent
from apps.eventlog.sealing import canonical_form, leaves, merkle_tree, seals, signatures
from tests.eventlog.events import Counted
from tests.support import tamper
from tests.support.exported import import_documents
from tests.support.threads import in_threads, open_append

LOG = connections["eventlog"]
# The leaves and roots that implementations of RFC 6962 are tested with.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def verify(out: StringIO | None = None, **options: Any) -> str:
    """What verify_log prints; raises CommandError with the exit status as `returncode`."""
    out = out or StringIO()
    call_command("verify_log", stdout=out, **options)
    return out.getvalue()


def refusal(**options: Any) -> tuple[int, str]:
    with pytest.raises(CommandError) as refused:
        verify(**options)
    return refused.value.returncode, str(refused.value)


def export(file: Path) -> Path:
    call_command("seal_events", export=file, stderr=StringIO())
    return file


@pytest.mark.parametrize("size", range(9))
def test_a_root_is_that_of_rfc_6962(size: int) -> None:
    assert merkle_tree.root([merkle_tree.leaf(bytes.fromhex(leaf)) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


def test_a_root_splits_at_the_largest_power_of_two() -> None:
    def root(leaves: list[bytes]) -> bytes:
        """Section 2.1 to the letter."""
        if len(leaves) == 1:
            return leaves[0]
        power = 1
        while 2 * power < len(leaves):
            power *= 2
        return merkle_tree.sha256(b"\x01" + root(leaves[:power]) + root(leaves[power:])).digest()

    leaves = [merkle_tree.leaf(bytes([number])) for number in range(70)]
    assert all(merkle_tree.root(leaves[:size]) == root(leaves[:size]) for size in range(1, 71))


def stored(data: dict[str, Any]) -> bytes:
    """The canonical form of an event with this payload, once the database has had it."""
    document = {"position": 5, "event_id": UUID(int=10), "stream": "thing-1", "stream_version": 1, "data": data}
    document |= {"type": "meters.Read", "schema_version": 1, "recorded_at": datetime(2026, 1, 2, 3, tzinfo=UTC)}
    import_documents([document | {"metadata": {"correlation_id": str(UUID(int=11))}}])
    _, [form] = canonical_form.rows(page_as_stored(after=0, end=5, limit=1))
    return form


def test_the_canonical_form_is_the_row_to_the_byte() -> None:
    assert stored({"b": "é\n/\u2028", "a": [1, {"z": None, "": "\x7f"}], "😀": 1, "\uffee": True}).decode() == (
        '[5,"00000000-0000-0000-0000-00000000000a","thing-1",1,"thing","meters.Read",1,'
        '{"a":[1,{"":"\x7f","z":null}],"b":"é\\n/\u2028","\uffee":true,"😀":1},'
        '{"correlation_id":"00000000-0000-0000-0000-00000000000b"},'
        '"00000000-0000-0000-0000-00000000000b","2026-01-02 03:00:00.000000Z"]'
    )


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (2**53 + 1, "9007199254740993"),
        (-(2**70), "-1180591620717411303424"),
        (1.0, "1"),
        (-0.0, "0"),
        (1e22, "10000000000000000000000"),
        (0.1, "0.1"),
        (1e-7, "1E-7"),
        (5e-324, "5E-324"),
        (-1.7976931348623157e308, f"-17976931348623157{'0' * 292}"),
        (123456789.125, "123456789.125"),
    ],
)
def test_numbers_have_one_form_on_every_engine(number: float, form: str) -> None:
    assert f'{{"n":{form}}}' in stored({"n": number}).decode()


def test_seals_lie_side_by_side_and_each_continues_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "BATCH", 100)
    positions = tamper.fill(240)
    tamper.seal_all()
    first, second, third = Seal.objects.all()
    assert [seal.events for seal in (first, second, third)] == [100, 100, 40]
    assert (first.after, second.after, third.after) == (0, first.until, second.until)
    assert (first.until, third.until) == (positions[99], positions[-1])
    assert (second.previous, third.previous) == (first.digest, second.digest)
    gaps = {position for seal in Seal.objects.all() for low, high in seal.gaps for position in range(low, high + 1)}
    assert gaps == set(range(1, positions[-1] + 1)) - set(positions)
    assert seals.seal_next() == 0
    assert "240 events are as they were sealed (3 seals" in verify()


def test_events_that_are_not_sealed_yet_are_said() -> None:
    assert "0 events are as they were sealed" in verify()
    tamper.fill(10)
    assert "10 events are not sealed yet" in verify()
    tamper.seal_all()
    store.append("other-1", [Counted(1)], expected_version=0)
    assert "1 events are not sealed yet" in verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventlog_seal SET root = ''",
        "DELETE FROM eventlog_seal",
        "INSERT INTO eventlog_seal SELECT {again} FROM eventlog_seal",
        "INSERT INTO eventlog_seal SELECT {later} FROM eventlog_seal",
        pytest.param("REPLACE INTO eventlog_seal SELECT {again} FROM eventlog_seal", marks=pytest.mark.sqlite),
        pytest.param("TRUNCATE eventlog_seal", marks=pytest.mark.postgres),
    ],
)
def test_the_database_itself_takes_only_the_next_seal(statement: str) -> None:
    tamper.fill(3)
    tamper.seal_all()
    columns = [field.column for field in Seal._meta.concrete_fields[1:]]
    again, later = ", ".join(["1", *columns]), ", ".join(["3", *columns])
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute(statement.format(again=again, later=later))
    assert "3 events are as they were sealed (1 seals" in verify()


def next_seal() -> Seal:
    """What a sealer would write next."""
    last = Seal.objects.order_by("number").last() or seals.GENESIS
    return seals._seal(last, leaves.leaves(after=last.until, end=store.head(), limit=seals.BATCH))


FORGED: list[tuple[str, Callable[[Any], Any]]] = [
    ("number", lambda number: number + 1),
    ("number", lambda number: number - 1),
    ("after", lambda after: after - 1),
    ("after", lambda after: after + 1),
    ("previous", lambda previous: "0" * 64),
    ("until", lambda until: until + 1),
    ("until", lambda until: until - 1),
    ("until", lambda until: 2**62),
    ("until", lambda until: 0),
    ("gaps", lambda gaps: []),
    ("gaps", lambda gaps: gaps[1:]),
    ("gaps", lambda gaps: {}),
    ("events", lambda events: events - 1),
    ("events", lambda events: events + 1),
    ("leaves", lambda leaves: leaves[32:]),
    ("leaves", lambda leaves: leaves + b"0"),
    ("leaves", lambda leaves: b""),
    ("root", str.upper),
    ("root", lambda root: root[1:]),
    ("digest", lambda digest: "g" * 64),
    ("digest", lambda digest: ""),
    ("signature", lambda signature: "forged"),
    ("signature", lambda signature: "A" * 88),
    ("sealed_at", lambda at: at + timedelta(days=2)),
    ("sealed_at", lambda at: at.replace(year=1999)),
]


@pytest.mark.parametrize(("column", "forge"), FORGED)
def test_a_forged_seal_is_refused_by_the_database(column: str, forge: Callable[[Any], Any]) -> None:
    positions = tamper.fill(60)
    seals._insert(seals._seal(seals.GENESIS, leaves.leaves(after=0, end=positions[30], limit=100)))
    forged = next_seal()
    setattr(forged, column, forge(getattr(forged, column)))
    with pytest.raises(DatabaseError, match=r"append-only|a seal "), transaction.atomic(using="eventlog"):
        seals._insert(forged)
    assert Seal.objects.count() == 1
    assert seals._write(next_seal())  # the true one fits
    assert "60 events are as they were sealed (2 seals" in verify()


def test_a_seal_beyond_the_log_stops_sealing_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    positions = tamper.fill(60)
    tamper.seal_all()
    said = f"seal 1 reaches position {positions[-1]}, but the log ends at {positions[40]}"
    with tamper.unguarded():
        StoredEvent.objects.filter(position__gt=positions[40]).delete()
        for options in ({}, {"follow": True}):
            with pytest.raises(CommandError, match=said):
                call_command("seal_events", stderr=StringIO(), **options)
        out = StringIO()
        with pytest.raises(CommandError, match=said):
            call_command("run_projectors", once=True)
        assert said in caplog.text
        assert refusal(out=out) == (1, f"The log was changed. The first bad position is {positions[41]}.")
        assert said in out.getvalue()


def test_several_sealers_and_writers_at_once_make_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "BATCH", 7)
    written = threading.Event()

    def work(index: int) -> int:
        if index < 3:
            while not written.is_set():
                seals.seal_next()
            return 0
        chance, done = random.Random(index), 0
        for _ in range(60):
            with transaction.atomic(using="eventlog"):
                store.append(f"thing-{index}", [Counted(done)], expected_version=done)
                if chance.random() < 0.2:
                    transaction.set_rollback(True, using="eventlog")
                    continue
            done += 1
        if index == 3:
            verify()  # beside them all: no false alarm
            written.set()
        return done

    total = sum(in_threads(7, work))
    tamper.seal_all()
    assert f"{total} events are as they were sealed" in verify()
    assert "0 events are not sealed yet" in verify()
    assert Seal.objects.count() > 3


@pytest.mark.postgres
def test_what_a_slow_writer_may_still_commit_is_not_sealed_over() -> None:
    with open_append("thing-1", Counted(1)):
        store.append("thing-2", [Counted(2)], expected_version=0)
        assert seals.seal_next() == 0
        assert not seals._write(next_seal())  # by a sealer who looked before the writer began
        assert not Seal.objects.exists()
    assert seals.seal_next() == 2
    assert "2 events are as they were sealed" in verify()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        ("[" * 3000 + "]" * 3000, "{}"),
        ('{"a":' * 1001 + "1" + "}" * 1001, "{}"),
        ("{}", "[" * 3000 + "]" * 3000),
        ("9" * 5000, "{}"),
        ("-1e5000", "{}"),
        ("1e131000", "{}"),
        (json.dumps("a" * 2**21), "{}"),
    ],
)
def test_an_event_that_no_sealer_could_read_is_refused_by_the_database(data: str, metadata: str) -> None:
    document = f'[{{"event_id": "{UUID(int=9)}", "type": "a.B", "schema_version": 1, "data": %s}}]'
    append = "SELECT outcome FROM eventlog_append('thing-1', 0, %s::jsonb, %s::jsonb)"
    with pytest.raises(DataError, match="an event takes at most"), transaction.atomic(using="eventlog"):
        LOG.cursor().execute(append, [document % data, metadata])
    wide = json.dumps({"long": "é" * 10**6, "deep": json.loads("[" * 90 + "]" * 90), "number": 10**4000 - 1})
    assert LOG.cursor().execute(append, [document % wide, "{}"]).fetchall() == [("appended",)]
    assert seals.seal_next() == 1
    assert "1 events are as they were sealed" in verify()


@pytest.fixture
def keys(settings: Any) -> tuple[str, str]:
    return signatures.new_keys()


def test_a_signature_keeps_others_from_sealing_a_changed_log_anew(settings: Any, keys: tuple[str, str]) -> None:
    tamper.fill(10)
    tamper.seal_all()  # before there was a key
    settings.SEAL_SIGNING_KEY = keys[0]
    assert refusal() == (2, "cannot be checked: a key is set, but no seal is signed yet")
    for number in range(2):
        store.append("other-1", [Counted(number)], expected_version=number)
        tamper.seal_all()
    settings.SEAL_SIGNING_KEY, settings.SEAL_PUBLIC_KEYS = "", [keys[1]]
    assert "(3 seals, signed)" in verify()
    with tamper.unguarded():
        StoredEvent.objects.filter(position=1).update(type="forged")
        Seal.objects.all().delete()
        tamper.seal_all()
        assert refusal()[0] == 2
    with tamper.unguarded():
        Seal.objects.filter(number=3).delete()
        tamper.seal_all()
        assert refusal() == (1, f"The log was changed. The first bad position is {store.head()}.")
    with tamper.unguarded():
        Seal.objects.filter(number=2).update(signature=Seal.objects.get(number=3).signature)
        assert refusal()[0] == 1
    settings.SEAL_PUBLIC_KEYS = [signatures.new_keys()[1]]
    assert refusal()[0] == 1


@pytest.mark.parametrize("key", ["x", "AAAA", "é"])
def test_a_key_that_is_none_is_said(settings: Any, key: str) -> None:
    settings.SEAL_SIGNING_KEY = key
    assert refusal()[0] == 2
    tamper.fill(1)
    with pytest.raises(ImproperlyConfigured, match="32 bytes in base64"):
        seals.seal_next()


def test_a_new_key_is_printed_and_nothing_else_done() -> None:
    tamper.fill(1)
    out = StringIO()
    call_command("seal_events", new_key=True, stdout=out)
    assert [line.partition("=")[0] for line in out.getvalue().split()] == ["SEAL_SIGNING_KEY", "SEAL_PUBLIC_KEYS"]
    assert not Seal.objects.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("", "holds no seal"),
        ("{}\n", "line 1"),
        ("\xff\n", "line 1"),
        ("second line first", "seal 1 is missing"),
        ("changed", "seal 1 was changed"),
    ],
)
def test_an_anchor_that_is_none_is_not_taken_for_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, why: str
) -> None:
    monkeypatch.setattr(seals, "BATCH", 10)
    tamper.fill(20)
    file = export(tmp_path / "anchors")
    lines = file.read_text().splitlines(keepends=True)
    texts = {"second line first": lines[1] + lines[0], "changed": lines[0].replace('"events":10', '"events":9')}
    file.unlink() if content is None else file.write_text(texts.get(content, content), encoding="latin-1")
    status, text = refusal(against=file)
    assert status == 2
    assert why in text


def test_a_log_in_another_database_is_checked_by_the_anchors_of_the_first(tmp_path: Path) -> None:
    tamper.fill(30)
    file = export(tmp_path / "anchors")
    with tamper.unguarded():  # as if it had been imported there, and sealed again in other batches
        Seal.objects.all().delete()
        seals.BATCH, batch = 7, seals.BATCH
        tamper.seal_all()
        seals.BATCH = batch
        assert "30 events are as they were sealed (5 seals" in verify(against=file)
        StoredEvent.objects.filter(position=3).update(type="forged")
        assert refusal(against=file)[0] == 1


def test_an_export_holds_every_seal_and_seals_first(tmp_path: Path) -> None:
    tamper.fill(3)
    [line] = export(tmp_path / "anchors").read_text().splitlines()
    seal = Seal.objects.get()
    assert json.loads(line)["digest"] == seal.digest == seals.digest(seal)
    assert "leaves" not in line


def test_the_worker_seals_what_it_projects() -> None:
    tamper.fill(5)
    call_command("run_projectors", once=True)
    assert "0 events are not sealed yet" in verify()
