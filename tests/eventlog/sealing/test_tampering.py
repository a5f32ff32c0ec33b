"""Whatever is changed behind the application's back is found, and named by its position."""

import random
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from apps.eventlog.models import Seal, StoredEvent
from apps.eventlog.sealing import leaves, seals
from tests.eventlog.sealing.test_seals import export, refusal, verify
from tests.support import tamper

BAD = "The log was changed. The first bad position is {}."


@pytest.fixture
def positions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A log under seven seals; its positions."""
    monkeypatch.setattr(seals, "BATCH", 37)
    positions = tamper.fill(240)
    tamper.seal_all()
    return positions


def test_each_of_a_hundred_random_changes_is_found_and_named(positions: list[int], tmp_path: Path) -> None:
    anchors = export(tmp_path / "anchors")
    verify(against=anchors)
    for seed in range(100):
        chance = random.Random(seed)
        kind = tamper.KINDS[seed % len(tamper.KINDS)]
        with tamper.unguarded():
            position = kind(chance, positions)
            assert refusal(against=anchors) == (1, BAD.format(position)), (seed, kind.__name__)
        if seed % 10 == 0:
            verify(against=anchors)  # no false alarm


@pytest.mark.parametrize("seed", range(5))
def test_a_log_that_was_sealed_anew_is_found_by_the_anchor_alone(
    positions: list[int], tmp_path: Path, seed: int
) -> None:
    anchors = export(tmp_path / "anchors")
    with tamper.unguarded():
        position = tamper.edit(random.Random(seed), positions)
        seal = Seal.objects.get(after__lt=position, until__gte=position)
        Seal.objects.all().delete()
        tamper.seal_all()
        if StoredEvent.objects.get(pk=position).stream_version < 1000:
            assert "as they were sealed" in verify()
        assert refusal(against=anchors) == (1, BAD.format(seal.after + 1))


SEAL_CHANGES: dict[str, Any] = {
    "after": 1,
    "until": 10**6,
    "gaps": [],
    "events": 36,
    "root": "0" * 64,
    "previous": "0" * 64,
    "digest": "0" * 64,
    "leaves": b"\0" * 32 * 37,
}


@pytest.mark.parametrize("column", SEAL_CHANGES)
def test_a_changed_seal_is_found(positions: list[int], column: str) -> None:
    seal = Seal.objects.get(number=3)
    assert seal.gaps
    with tamper.unguarded():
        Seal.objects.filter(number=3).update(**{column: SEAL_CHANGES[column]})
        assert refusal() == (1, BAD.format(seal.after + 1))


def test_a_missing_seal_and_one_that_was_made_anew_are_found(positions: list[int]) -> None:
    seal = Seal.objects.get(number=3)
    with tamper.unguarded():
        Seal.objects.filter(number=3).delete()
        assert refusal() == (1, BAD.format(seal.after + 1))
    with tamper.unguarded():
        StoredEvent.objects.filter(position=seal.until).update(type="forged")
        Seal.objects.filter(number__gte=3).delete()
        assert seals.seal_next() == 37
        renewed = Seal.objects.get(number=3)
    with tamper.unguarded():
        StoredEvent.objects.filter(position=seal.until).update(type="forged")
        Seal.objects.filter(number=3).delete()
        renewed.save(force_insert=True)
        assert refusal() == (1, BAD.format(seal.after + 1))


def test_an_event_that_was_changed_with_its_leaf_is_found_by_the_root(positions: list[int]) -> None:
    seal = Seal.objects.get(number=3)
    with tamper.unguarded():
        StoredEvent.objects.filter(position=seal.until).update(type="forged")
        [leaf] = leaves.leaves(after=seal.until - 1, end=seal.until, limit=1)
        Seal.objects.filter(number=3).update(leaves=bytes(seal.leaves)[:-32] + leaf.hash)
        assert refusal() == (1, BAD.format(seal.after + 1))


def test_every_difference_is_told_one_a_seal(positions: list[int]) -> None:
    out = StringIO()
    with tamper.unguarded():
        StoredEvent.objects.filter(position__in=[positions[5], positions[7], positions[100]]).update(type="forged")
        StoredEvent.objects.filter(position=positions[200]).delete()
        assert refusal(out=out)[0] == 1
    assert out.getvalue().splitlines()[:3] == [
        f"position {positions[5]}: the event is not the one that was sealed",
        f"position {positions[100]}: the event is not the one that was sealed",
        f"position {positions[200]}: the event is gone",
    ]


def test_what_was_wrong_before_it_was_sealed_is_found_in_its_stream(positions: list[int]) -> None:
    row = StoredEvent.objects.filter(stream="thing-1", stream_version__gt=2).first()
    assert row is not None
    for change in ({"stream_version": row.stream_version + 500}, {"recorded_at": "1999-01-01T00:00Z"}):
        with tamper.unguarded():
            Seal.objects.all().delete()
            StoredEvent.objects.filter(pk=row.pk).update(**change)
            tamper.seal_all()
            assert refusal() == (1, BAD.format(row.pk))


@pytest.fixture
def written_by_hand() -> Iterator[Any]:
    with tamper.unguarded(), connections["eventlog"].cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        yield cursor
        cursor.execute("PRAGMA ignore_check_constraints = OFF")


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "change",
    [
        "type = CAST(x'ff' AS TEXT)",
        "data = '{'",
        "data = '[' || replace(hex(zeroblob(2000)), '00', '[') || replace(hex(zeroblob(2000)), '00', ']') || ']'",
        "data = '{\"n\": 1e99999999999999999999}'",
        "data = '{}', metadata = '{},1'",
        "stream = stream || char(0)",
        "event_id = upper(event_id)",
        "recorded_at = replace(recorded_at, ' ', 'T')",
        "schema_version = 'one'",
    ],
)
def test_what_is_no_event_any_more_is_found_and_is_not_sealed(
    positions: list[int], written_by_hand: Any, change: str
) -> None:
    written_by_hand.execute(f"UPDATE eventlog_event SET {change} WHERE position = {positions[50]}")
    assert refusal() == (1, BAD.format(positions[50]))


@pytest.mark.sqlite
@pytest.mark.parametrize("change", ["sealed_at = 'never'", "gaps = '{'", "leaves = 'x'", "number = 1000"])
def test_what_is_no_seal_any_more_is_found(positions: list[int], written_by_hand: Any, change: str) -> None:
    seal = Seal.objects.get(number=3)
    written_by_hand.execute(f"UPDATE eventlog_seal SET {change} WHERE number = 3")
    assert refusal() == (1, BAD.format(seal.after + 1))


@pytest.mark.sqlite
def test_an_event_that_cannot_be_read_is_not_sealed(positions: list[int], written_by_hand: Any) -> None:
    written_by_hand.execute(f"UPDATE eventlog_event SET data = '{{' WHERE position = {positions[50]}")
    Seal.objects.filter(number__gt=1).delete()
    with pytest.raises(seals.Unreadable, match=f"position {positions[50]} "):
        seals.seal_next()
