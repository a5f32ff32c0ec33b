"""The command line: replay_events, export_events, import_events, run_projectors, migrate."""

import gzip
import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.projectors import Projector
from apps.eventlog.relay import heartbeats
from apps.eventlog.relay.cloud_events import Only
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.orders.events import OrderLine
from apps.orders.models import Order
from apps.orders.write.commands import PlaceOrder
from apps.users.events import UserRenamed
from apps.users.models import User
from apps.users.write.commands import DeactivateUser, RegisterUser
from tests.journeys.test_import import history
from tests.support.erase import erase
from tests.support.fold import folded, projected
from tests.support.history import make_history


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_replay_says_what_it_did() -> None:
    make_history()
    lines = run("replay_events", "--service", "users").splitlines()
    assert lines == [f"UserProjector: {store.count(category='user')} events replayed into users_user"]


def test_a_dry_run_changes_nothing_and_counts() -> None:
    make_history()
    User.objects.update(name="damaged")
    output = run("replay_events", "--dry-run")
    assert f"UserProjector: would replay {store.count(category='user')} events into users_user" in output
    assert set(User.objects.values_list("name", flat=True)) == {"damaged"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--projector", "Nobody"], f"there are {', '.join(sorted(Projector.registry))}"),
        (["--service", "nobody"], "invalid choice"),
        (["--type", "users.UserRegistered"], "--type goes with --list"),
        (["--batch", "0"], "--batch must be 1 or more"),
        (["--list", "--since", "yesterday"], "invalid instant value"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("replay_events", *arguments)


def test_events_are_listed_as_text_and_as_json() -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    dispatch(DeactivateUser(ann, "left"))
    assert len(run("replay_events", "--list").splitlines()) == 2
    documents = [json.loads(line) for line in run("replay_events", "--list", "--format", "json").splitlines()]
    assert documents == json.loads(json.dumps([recorded.document() for recorded in store.read_all()]))
    assert run("replay_events", "--list", "--type", "users.UserDeactivated").count("\n") == 1
    assert run("replay_events", "--list", "--stream", f"user-{uuid4()}") == ""
    assert run("replay_events", "--list", "--until", "1").count("\n") == 1
    assert run("replay_events", "--list", "--since", documents[1]["recorded_at"]).count("\n") >= 1


def test_an_instant_is_one_of_rfc_3339() -> None:
    dispatch(RegisterUser(uuid4(), "ann@example.org", "Ann"))
    for option, instant, lines in (
        *(("--until", instant, 1) for instant in ("2099-05-06t07:08:09z", "2099-05-06T07:08:09Z", "2099-05-06")),
        *(("--since", instant, 1) for instant in ("2001-02-03t04:05:06.5z", "2001-02-03t04:05:06-11:30")),
        *((option, "2099-05-06t07:08:09+02:00", option == "--until") for option in ("--since", "--until")),
    ):
        assert run("replay_events", "--list", option, instant).count("\n") == lines, instant
    with pytest.raises(CommandError, match="invalid instant value"):
        run("replay_events", "--list", "--until", "9999-12-31T23:59:59-14:00")


def test_what_would_steer_a_terminal_is_shown_and_not_sent() -> None:
    names = ["\x1b]0;owned\x07\x1b[2J", "\x9b31m\x7f", "evil\u202etxt.exe", "a\u2028b\x85c", "Zoë 山田 👩\u200d🚀"]
    dispatch(RegisterUser(ann := uuid4(), "ann@example.org", "Ann"))
    for version, name in enumerate(names, start=1):
        store.append(f"user-{ann}", [UserRenamed(name)], expected_version=version)
    lines = run("replay_events", "--list").splitlines()
    shown = [r"\u001b]0;owned\u0007\u001b[2J", r"\x9b31m\x7f", r"evil\u202etxt.exe", r"a\u2028b\x85c", names[-1]]
    assert [line.partition('{"name":"')[2].removesuffix('"}') for line in lines[1:]] == shown
    json_lines = run("replay_events", "--list", "--format", "json").split("\n")
    assert [json.loads(line)["data"]["name"] for line in json_lines[1:-1]] == names


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_an_export_comes_back_exactly(tmp_path: Path, name: str) -> None:
    make_history()
    before, rows = [recorded.document() for recorded in store.read_all()], projected()
    file = tmp_path / name
    assert f"{len(before)} events written" in run("export_events", str(file))
    content = file.read_bytes()
    lines = (gzip.decompress(content) if name.endswith(".gz") else content).splitlines()
    assert [json.loads(line)["position"] for line in lines] == [event["position"] for event in before]
    keys = list(PersonalKey.objects.all())
    for alias in connections:
        erase(alias)
    PersonalKey.objects.bulk_create(keys)
    assert f"{len(before)} events imported, 0 were there already" in run("import_events", str(file))
    assert [recorded.document() for recorded in store.read_all()] == before
    assert projected() == rows == folded()
    assert f"0 events imported, {len(before)} were there already" in run("import_events", str(file))


def test_an_export_goes_to_standard_output_as_an_import_comes_from_it(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    make_history()
    run("export_events", "-")
    lines = capsysbinary.readouterr().out.splitlines()
    assert [json.loads(line)["position"] for line in lines] == [recorded.position for recorded in store.read_all()]


def test_without_its_data_keys_an_import_shows_no_personal_field(tmp_path: Path) -> None:
    make_history()
    run("export_events", str(tmp_path / "log.jsonl"))
    for alias in connections:
        erase(alias)
    run("import_events", str(tmp_path / "log.jsonl"))
    assert set(User.objects.values_list("name", "email")) == {("[erased]", "[erased]")}


def test_reactors_do_not_answer_imported_events(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in history(4)))
    run("import_events", str(file))
    run("run_projectors", "--once")
    assert store.head() == len(history(4))  # those who left have unpaid orders
    dispatch(DeactivateUser(UUID(int=0), "left"))
    assert [recorded.type for recorded in store.read_all(after=len(history(4)))] == [
        "users.UserDeactivated",
        "orders.OrderCancelled",
    ]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"position": 1}\n')
    with pytest.raises(CommandError, match=r"log.jsonl, line 1: .*event_id"):
        run("import_events", str(file))
    with pytest.raises(CommandError, match="No such file"):
        run("import_events", str(tmp_path / "nothing.jsonl"))


def test_an_interrupted_export_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "read_all", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(CommandError, match="nothing written"):
        run("export_events", str(tmp_path / "log.jsonl"))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_drains_once(worker_mode: None) -> None:
    ann = uuid4()
    dispatch(RegisterUser(ann, "ann@example.org", "Ann"))
    assert User.objects.count() == 0
    run("run_projectors", "--once")
    assert User.objects.get().name == "Ann"
    assert projected() == folded()


def test_migrate_covers_every_database_or_the_one_named(capsys: pytest.CaptureFixture[str]) -> None:
    output = run("migrate", "--plan")
    assert [f"Database {alias}" in output for alias in connections] == [True] * len(connections.databases)
    assert "Database" not in run("migrate", "orders", "--database", "orders", "--plan")
    call_command("migrate", "--check", verbosity=0)
    assert Order.objects.count() == 0


def test_reactors_that_are_behind_an_import_answer_what_came_before_it_and_after(tmp_path: Path, settings: Any) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in history(4)))
    ann, bob = uuid4(), uuid4()
    for person, name in ((ann, "ann"), (bob, "bob")):
        dispatch(RegisterUser(person, f"{name}@example.org", name))
        dispatch(PlaceOrder(uuid4(), person, "EUR", (OrderLine("A-1", 1, Decimal(1)),)))
    settings.PROJECTIONS = "worker"
    dispatch(DeactivateUser(ann, "left"))
    run("import_events", str(file))
    dispatch(DeactivateUser(bob, "left"))
    before = store.head()
    run("run_projectors", "--once")
    cancelled = {recorded.stream_id for recorded in store.read_all(after=before, types=["orders.OrderCancelled"])}
    assert {order.customer_id for order in Order.objects.filter(id__in=cancelled)} == {ann, bob}
    assert store.head() == before + 2
    assert projected() == folded()


def test_log_status_names_relays_and_webhooks_that_do_not_send() -> None:
    make_history(users=1, commands=0)
    heartbeats.beat("nats://here/events", Only(category=None, types=None), None, "no responders")
    endpoint, _ = endpoints.create("https://example.org/hook")
    Endpoint.objects.update(active=False, last_error="the answer was 410")
    out = StringIO()
    with pytest.raises(CommandError, match="2 things are wrong"):
        call_command("log_status", stdout=out)
    said = out.getvalue()
    assert "WRONG: nats://here/events of relay cannot send: no responders" in said
    assert f"WRONG: webhook {endpoint.pk} has stopped: the answer was 410" in said
    assert f"relay nats://here/events: at position 0, {store.head()} events behind\n" in said
    assert f"webhook {endpoint.pk}: at position {store.head()}, 0 events behind, is switched off\n" in said
