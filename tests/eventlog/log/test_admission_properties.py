"""Arbitrary events and lines: what the log accepts follows from the rules alone, so both engines accept the same.

The examples are the same in every run and on both engines. What the rules say is asked without a database, and the
export must be what the lines say by themselves.
"""

import dataclasses
import json
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.core.management import CommandError
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.eventlog import store
from apps.eventlog.delivery import projecting
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.events import DomainEvent, InvalidEvent, RecordedEvent
from apps.eventlog.log import admission, importing
from apps.eventlog.log.importing import ExportedEvent
from apps.eventlog.projectors import Projector, services
from apps.eventlog.replay import rebuild
from apps.orders.events import OrderLine, OrderPaid, OrderPlaced, OrderShipped
from apps.users.events import UserDeactivated, UserEmailChanged, UserReactivated, UserRegistered, UserRenamed
from tests.eventlog.events import Counted, Named, Parcel, Weighed
from tests.support.erase import erase
from tests.support.exported import document, exported_log, import_lines
from tests.support.fold import projected

LOOPS = [200, pytest.param(3000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]

texts = st.text(max_size=12) | st.text(max_size=12) | st.sampled_from(["a\0", "\ud800", "[" * 40, "\\u0000"])
digits = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
times = st.datetimes(timezones=st.none() | st.timezones() | st.just(UTC))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    st.one_of(scalars, st.decimals(), st.uuids(), times, st.binary(max_size=4), st.just(Counted(1))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)
JSON = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


wrong = st.one_of(st.integers(0, 9), st.floats(0, 9), texts, values)


def built(kind: Any, *fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """With rightly typed fields, of which one is anything else in half of the cases."""

    def build(drawn: Any) -> Any:
        right, other, at = drawn
        return kind(*[other if number == at else value for number, value in enumerate(right)])

    return st.tuples(st.tuples(*fields), wrong, st.integers(-len(fields), len(fields) - 1)).map(build)


def with_an_own_address(event: Any) -> Any:
    """Its address is nobody else's, because an import refuses two who hold one address."""
    email = event.email
    return dataclasses.replace(event, email=f"{email[:210]}{uuid4()}") if isinstance(email, str) else event


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=240)
amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**12, places=2)
order_lines = built(OrderLine, texts, st.integers(1, 1_000_000), amounts)
parcels = built(Parcel, st.integers(), st.decimals(0, 9))
things = st.one_of(
    built(Counted, st.integers()),
    built(Named, texts),
    built(
        Weighed,
        *[st.decimals(0, 9) | st.decimals(), times, st.floats(0, 9) | st.floats(), st.booleans(), texts | st.none()],
        *[st.uuids() | st.none(), st.lists(parcels, max_size=2).map(tuple)],
        st.dictionaries(texts, JSON, max_size=3) | st.none(),
    ),
)
currencies = st.sampled_from(["EUR", "USD", "KWD", "JPY", "eur"])
orders = built(OrderPlaced, st.uuids(), currencies, st.lists(order_lines, max_size=2).map(tuple))
paid, shipped = built(OrderPaid, names), built(OrderShipped, names)
registered = built(UserRegistered, names, names).map(with_an_own_address)
changed = built(UserRenamed, names) | built(UserEmailChanged, names).map(with_an_own_address)
left = built(UserDeactivated, texts) | st.just(UserReactivated())
histories = st.one_of(
    st.tuples(st.just("thing"), st.lists(things, min_size=1, max_size=3)),
    st.tuples(st.just("order"), st.tuples(orders, paid, shipped).map(list)),
    st.tuples(st.just("user"), st.tuples(registered, changed, left).map(list)),
)


def keeps_the_rules(events: list[DomainEvent], metadata: Any) -> bool:
    """Asked of the rules alone, without a database."""
    try:
        for event in events:
            admission.check_event(event)
        admission.check_metadata(metadata, "")
    except InvalidEvent:
        return False
    return True


def profile(examples: int) -> settings:
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.parametrize("examples", LOOPS)
def test_an_append_takes_what_keeps_the_rules_and_nothing_else(examples: int, tmp_path: Path) -> None:
    accepted: dict[str, list[DomainEvent]] = {}

    @profile(examples)
    @given(histories, st.dictionaries(texts, JSON, max_size=2) | st.just({}) | st.just({}))
    def append(history: tuple[str, list[DomainEvent]], metadata: dict[str, Any]) -> None:
        (category, events), before = history, store.last_position()
        stream, right = f"{category}-{uuid4()}", keeps_the_rules(events, metadata)
        try:
            store.append(stream, events, expected_version=0, metadata=metadata)
        except InvalidEvent:
            assert not right
            assert store.last_position() == before
        else:
            assert right
            accepted[stream] = events

    append()
    assert len(accepted) > examples / 10
    assert {stream: [each.event for each in store.read_stream(stream)] for stream in accepted} == accepted
    leaves_the_log_and_comes_back(tmp_path)


def leaves_the_log_and_comes_back(tmp_path: Path) -> None:
    """Everything in the log projects and replays without a dead letter, and is the same after an export and import."""
    for service in services():
        projecting.catch_up(service)
    rows = projected()
    assert rows["set aside"] == {}
    for kind in Projector.registry.values():
        rebuild.rebuild(kind)
    assert projected() == rows
    first, keys = exported_log(tmp_path), list(PersonalKey.objects.all())
    for alias in connections:
        erase(alias)
    PersonalKey.objects.bulk_create(keys)
    import_lines(tmp_path, *first.splitlines())
    assert exported_log(tmp_path) == first
    assert projected() == rows


FIELDS = ["position", "stream", "stream_version", "type", "schema_version", "data", "metadata", "recorded_at"]
near = {
    "position": st.integers(-1, 2**54) | st.integers(1, 2000),
    "stream": texts.map("thing-{}".format) | st.uuids().map("Thing-{}".format) | texts,
    "stream_version": st.integers(0, 2),
    "type": texts | st.sampled_from(["eventlog.Named", "eventlog.Weighed", "of.Nobody"]),
    "schema_version": st.integers(-1, 40_000),
    "data": st.dictionaries(texts, JSON, max_size=3) | st.fixed_dictionaries({"n": JSON}),
    "metadata": st.dictionaries(texts, JSON, max_size=3) | st.fixed_dictionaries({"correlation_id": texts}),
    "recorded_at": times.map(str)
    | st.timedeltas(timedelta(0), timedelta(99)).map(lambda d: f"20{d.days:02}-01-01T00:00Z"),
}
changes = st.lists(st.sampled_from(FIELDS), max_size=2, unique=True).flatmap(
    lambda chosen: st.fixed_dictionaries({field: near[field] | JSON for field in chosen})
)


def line_of(change: dict[str, Any], number: str) -> bytes:
    text = json.dumps(document(type="of.Nobody", data={"a": "NUMBER"}) | change, ensure_ascii=len(number) % 2 == 0)
    return text.replace('"NUMBER"', number).encode(errors="surrogatepass")


def admitted(line: bytes) -> ExportedEvent | None:
    """The event of a line as the log will have it if the rules admit it, asked of the line and of the log's ends."""
    try:
        event = msgspec.json.decode(line, type=ExportedEvent)
        importing.check(event)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    last, head = store.last(event.stream), store.last_position()
    event.position = max(event.position, head + 1)
    after = last is None or event.recorded_at >= last.recorded_at
    follows = event.stream_version == (last.stream_version if last else 0) + 1
    return event if after and follows and event.position <= head + importing.FARTHEST else None


def as_exported(event: ExportedEvent) -> bytes:
    values = [getattr(event, name) for name in ExportedEvent.__struct_fields__]
    values[1] = str(event.event_id)
    return importing.exported(RecordedEvent(*values))


@pytest.mark.parametrize("examples", LOOPS)
def test_an_import_takes_what_keeps_the_rules_and_exports_it_as_the_line_says(examples: int, tmp_path: Path) -> None:
    written: list[bytes] = []

    @profile(examples)
    @given(changes, digits, st.binary(max_size=3) | st.just(b"") | st.just(b""))
    def bring(change: dict[str, Any], number: str, damage: bytes) -> None:
        line = damage.replace(b"\n", b"") + line_of(change, number)
        wanted, before = admitted(line), store.last_position()
        said = ""
        try:
            import_lines(tmp_path, line)
        except CommandError as refusal:
            said = str(refusal)
        assert bool(said) == (wanted is None), said
        if wanted is None:
            assert "line 1: " in said
            assert "\n" not in said
            assert store.last_position() == before
        else:
            written.append(as_exported(wanted))

    bring()
    assert len(written) > examples / 20
    assert exported_log(tmp_path).splitlines() == written
    leaves_the_log_and_comes_back(tmp_path)
