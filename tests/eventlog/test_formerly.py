"""An event that was renamed, or moved to another service: all that the log has of it counts, under both names."""

from collections.abc import Callable, Iterator
from dataclasses import make_dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from apps.eventlog import store, upcasting
from apps.eventlog.delivery import reacting
from apps.eventlog.encryption import data_keys
from apps.eventlog.events import DomainEvent, InvalidEvent, Personal, RecordedEvent, current_name, stored_names
from apps.eventlog.live.messages import Filter
from apps.eventlog.live.messages import Message as LiveMessage
from apps.eventlog.log import places, schema_lock
from apps.eventlog.log.importing import ExportedEvent, exported
from apps.eventlog.processes import Process
from apps.eventlog.processes import on as takes
from apps.eventlog.processing import running, tables
from apps.eventlog.projectors import on
from apps.eventlog.reactors import Reactor
from apps.eventlog.registry import DuplicateName
from apps.eventlog.relay import cloud_events
from apps.eventlog.relay.webhooks import messages
from tests.support.api import Api

OLD, NEW = "orders.BillAnnulled", "users.BillCancelled"
PERSON = UUID("0198c0de-0000-7000-8000-000000000001")
STREAM = f"bill-{uuid4()}"
Rename = Callable[..., type[DomainEvent]]


def event(type: str, *fields: Any, **namespace: Any) -> type[DomainEvent]:
    service, name = type.split(".")
    namespace |= {"__module__": f"apps.{service}.events"}
    kind = make_dataclass(name, fields, bases=(DomainEvent,), frozen=True, namespace=namespace)
    kind.__module__ = namespace["__module__"]
    return kind


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """Put back what a test has entered."""
    registries = (DomainEvent.types, DomainEvent.former, Reactor.registry, Process.registry)
    kept = [(registry, dict(registry)) for registry in registries]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


FIELDS = ("customer_id", UUID), ("why", Personal[str])


@pytest.fixture
def renamed() -> Rename:
    """Append an event under the old name. What is returned makes the class that has taken its place."""
    old = event(OLD, *FIELDS, subject="customer_id")
    store.append(STREAM, [old(PERSON, "too dear")], expected_version=0)  # type: ignore[call-arg]
    del DomainEvent.types[OLD]

    def rename(*fields: Any, **namespace: Any) -> type[DomainEvent]:
        return event(NEW, *(fields or FIELDS), formerly=(OLD,), **{"subject": "customer_id"} | namespace)

    return rename


def only() -> RecordedEvent:
    [recorded] = store.read_stream(STREAM)
    return recorded


def test_the_log_keeps_the_old_name_and_shows_the_new_one(renamed: Rename) -> None:
    with pytest.raises(Exception, match=f"{OLD} at position 1 is not an event of this code"):
        assert only().event
    kind = renamed()
    assert only().event == kind(PERSON, "too dear")  # type: ignore[call-arg]
    assert (only().type, only().stored_type, only().document()["type"]) == (NEW, OLD, NEW)
    assert msgspec.json.decode(exported(only()))["type"] == OLD


@pytest.mark.parametrize("asked", [OLD, NEW])
def test_either_name_means_the_events_of_both(renamed: Rename, api: Api, asked: str) -> None:
    kind = renamed()
    store.append(STREAM, [kind(PERSON, "again")], expected_version=1)  # type: ignore[call-arg]
    found = [recorded.stored_type for recorded in store.read_all(types=[asked])]
    assert found == [OLD, NEW]
    assert (store.count(types=[asked]), store.any_after(0, types=[asked], until=1)) == (2, True)
    assert places.waiting_since(0, [("type", asked)]) == next(store.read_all()).recorded_at
    shown = api.staff.get(f"events/?type={asked}")["results"]
    assert [(each["type"], each["position"]) for each in shown] == [(NEW, 1), (NEW, 2)]
    out = StringIO()
    call_command("replay_events", "--list", "--type", asked, stdout=out)
    assert out.getvalue().count(NEW) == 2
    delivery = messages.Delivery(stream=STREAM, stream_version=1, position=1, event_id=only_id())
    [first, second] = messages.of_stream(delivery, 2, (current_name(asked),))
    assert (first.type, second.type) == (NEW, NEW)


def only_id() -> UUID:
    return next(store.read_all()).event_id


def test_what_leaves_the_house_has_the_new_name_and_no_personal_field(renamed: Rename) -> None:
    renamed()
    [recorded] = store.read_all(encrypted=True)
    message = cloud_events.message(recorded, cloud_events.source_of_log())
    assert (message.subject, message.headers["ce-type"]) == (NEW, NEW)
    [webhook], _ = messages.following(places.Place(), store.safe_place(), 10, (OLD,))
    for body in (message.body, webhook.body):
        assert msgspec.json.decode(body)["data"] == {"customer_id": str(PERSON)}
    assert Filter(type=NEW).accepts(LiveMessage.of(only(), None))


def test_the_live_stream_and_webhooks_take_the_old_name(renamed: Rename, api: Api) -> None:
    renamed()
    made = api.staff.post("webhooks/", {"url": "https://example.org/hook", "event_types": [OLD]})
    [endpoint] = api.staff.get("webhooks/")["results"]
    assert (made.status, endpoint["event_types"]) == (201, [NEW])
    [entry] = [each for each in api.staff.get("events/catalog/")["results"] if each["type"] == NEW]
    assert entry["formerly"] == [OLD]
    assert api.staff.get("events/asyncapi/")["components"]["messages"][NEW]["x-formerly"] == [OLD]


@pytest.mark.parametrize("under", [OLD, NEW])
def test_old_versions_are_upcast_by_a_step_of_either_name(
    renamed: Rename, under: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = renamed(("customer_id", UUID), ("reason", Personal[str]), schema_version=2)
    step = {(under, 1): lambda data: {"customer_id": data["customer_id"], "reason": data["why"]}}
    monkeypatch.setattr(upcasting, "_upcasters", step)
    assert only().event == kind(PERSON, "too dear")  # type: ignore[call-arg]
    monkeypatch.setattr(upcasting, "_upcasters", step | {(OLD, 1): lambda data: data | {"reason": "of the old name"}})
    assert getattr(only().event, "reason") == "of the old name"  # noqa: B009


def test_reactors_and_processes_take_both(renamed: Rename, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = renamed()
    store.append(STREAM, [kind(PERSON, "again")], expected_version=1)  # type: ignore[call-arg]
    seen: list[int] = []

    class Answering(Reactor):
        @on(kind)
        def annulled(self, event: DomainEvent, recorded: RecordedEvent) -> None:
            seen.append(recorded.position)

    Answering.service = "orders"

    class Counting(Process):
        bills: int = 0

        @takes(kind, key="customer_id")
        def annulled(self, event: DomainEvent, recorded: RecordedEvent) -> None:
            self.bills += 1

    reacting.catch_up("orders")
    assert seen == [1, 2]
    assert reacting.services_taking({NEW}) == ["orders"]
    running.run()
    assert tables.instances().objects.get(process="Counting").state == {"bills": 2}


def test_an_erasure_reaches_what_was_stored_under_the_old_name(renamed: Rename) -> None:
    renamed()
    assert store.has_encrypted(PERSON)
    data_keys.destroy(PERSON)
    assert only().data["why"] == "[erased]"


def test_an_import_encrypts_what_comes_under_the_old_name_and_knows_it_again(renamed: Rename) -> None:
    renamed()
    line = exported(next(store.read_all(encrypted=True)))
    assert store.import_events([msgspec.json.decode(line, type=ExportedEvent)]) == 0
    other = msgspec.json.decode(line) | {"event_id": str(uuid4()), "stream_version": 2, "position": 7}
    other["data"] = {"customer_id": str(PERSON), "why": "in clear text"}
    assert store.import_events([msgspec.json.decode(msgspec.json.encode(other), type=ExportedEvent)]) == 1
    stored = list(store.read_all(encrypted=True))
    assert [each.stored_type for each in stored] == [OLD, OLD]
    assert b"clear text" not in stored[1].stored_data
    wrong = other | {"event_id": str(uuid4()), "stream_version": 3, "data": {"customer_id": str(PERSON)}}
    with pytest.raises(InvalidEvent, match="why"):
        store.import_events([msgspec.json.decode(msgspec.json.encode(wrong), type=ExportedEvent)])


def test_seals_and_the_admin_know_what_is_stored(renamed: Rename, client: Any, api: Api) -> None:
    call_command("seal_events", stdout=StringIO())
    renamed()
    call_command("verify_log", stdout=StringIO())
    assert api.staff
    client.force_login(get_user_model().objects.get(username="admin"))
    for asked in (OLD, NEW):
        page = client.get(f"/admin/eventlog/storedevent/?type={asked}").content.decode()
        assert f'<td class="field-current_type">{NEW}</td>' in page
    assert f"{NEW} (stored as {OLD})" in client.get("/admin/eventlog/storedevent/1/change/").content.decode()


@pytest.mark.django_db(databases=[])
def test_names_that_two_events_would_have_are_refused() -> None:
    event("orders.Second", formerly=(OLD,))
    for name, formerly in (
        ("Third", (OLD,)),  # claimed twice
        ("Third", ("orders.OrderPlaced",)),  # lives
        ("BillAnnulled", ()),  # comes back
        ("Third", ("orders.Third",)),  # itself
    ):
        namespace = {"__module__": "apps.orders.events", "formerly": formerly}
        with pytest.raises(DuplicateName, match=r"two events are named .*take the name out of `formerly`"):
            make_dataclass(name, [], bases=(DomainEvent,), frozen=True, namespace=namespace)
        DomainEvent.types.pop("orders.Third", None)
    for wrong in (OLD, [OLD], ("OrderAnnulled",), (1,)):
        with pytest.raises(TypeError, match=r"orders\.Fourth: formerly is a tuple of types"):
            event("orders.Fourth", formerly=wrong)
    with pytest.raises(TypeError, match="formerly is no field"):
        event("orders.Fifth", ("formerly", tuple[str, ...], ("orders.X",)))
    assert stored_names(["orders.Second", "any.Thing"]) == ["orders.Second", OLD, "any.Thing"]


@pytest.mark.django_db(databases=[])
def test_the_lock_knows_an_event_by_its_former_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lock, "_path", lambda service: tmp_path / service)
    event(OLD, ("why", str), schema_version=2)
    monkeypatch.setattr(upcasting, "_upcasters", {(OLD, 1): lambda data: data})
    with_only(monkeypatch, OLD)
    schema_lock.lock("orders")
    del DomainEvent.types[OLD]
    with_only(monkeypatch)
    assert schema_lock.problems("orders") == [
        f'{OLD} is in events.lock.json but not in the code; if it was renamed: formerly = ("{OLD}",)'
    ]
    event(NEW, ("why", str), formerly=(OLD,))
    with_only(monkeypatch, NEW)
    assert schema_lock.problems("orders") == []  # it lives elsewhere
    assert schema_lock.problems("users") == [
        f"{NEW} is at version 1 in the code, but events.lock.json has version 2 of {OLD}"
    ]
    event(NEW, ("because", str), formerly=(OLD,), schema_version=2)
    assert next(iter(schema_lock.problems("users"))).startswith(f"{NEW} has lost why: give it a new schema_version")
    kind = event(NEW, ("why", str), formerly=(OLD,), schema_version=2)
    assert (schema_lock.problems("users"), schema_lock.unlocked("users")) == ([], [f"{NEW} version 2"])
    schema_lock.lock("users")
    (tmp_path / "orders").unlink()  # that service was removed
    assert (schema_lock.unlocked("users"), [n for n, _ in schema_lock.versions(kind)]) == ([], [2])


def with_only(monkeypatch: pytest.MonkeyPatch, *types: str) -> None:
    """The code has these events and no others."""

    def kinds(service: str) -> dict[str, type[DomainEvent]]:
        return {type: DomainEvent.types[type] for type in types if type.startswith(service)}

    monkeypatch.setattr(schema_lock, "_kinds", kinds)


def test_a_relay_of_an_unknown_type_says_so(renamed: Rename) -> None:
    renamed()
    with pytest.raises(CommandError, match=r"no event type 'orders\.Billed'"):
        call_command("relay_events", "nats://127.0.0.1:1", "--once", "--type", "orders.Billed")
    for known in (OLD, NEW):
        with pytest.raises(CommandError, match=r"127\.0\.0\.1:1"):
            call_command("relay_events", "nats://127.0.0.1:1", "--once", "--type", known, stdout=StringIO())
