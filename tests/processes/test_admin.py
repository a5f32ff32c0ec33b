"""The admin shows each instance with its state, its timers and what it sent; dead letters are settled there."""

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.eventlog import store
from apps.eventlog.management import irreplaceable
from apps.eventlog.processing import sending, tables
from apps.orders.events import OrderPaid
from apps.processes.models import DeadLetter, Instance, OutgoingCommand, Timer
from tests.support.fulfilment import WHOLE, commands_of, history, place_orders, run


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin"))
    return client


def text(browser: Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def page_of(row: Any) -> str:
    return reverse(f"admin:processes_{row._meta.model_name}_change", args=[quote(row.pk)])


def test_each_page_of_a_process_shows_what_there_is(browser: Client, fulfilment: Any) -> None:
    [order] = place_orders(1)
    run()
    instance = text(browser, page_of(Instance.objects.get(process="Fulfilment")))
    for shown in ("&quot;paid&quot;: 1", "arrived", "orders.PayOrder", "orders.ShipOrder", "sent", str(order)):
        assert shown in instance
    assert str(order) in text(browser, f"/admin/processes/instance/?q={order}")
    for model in (Instance, Timer, OutgoingCommand):
        for row in model.objects.all():
            assert str(order) in text(browser, f"/admin/processes/{model._meta.model_name}/")
            assert str(order) in text(browser, page_of(row))
    sent = OutgoingCommand.objects.get(command="orders.PayOrder")
    assert f"at position {sent.sent_position}" in text(browser, page_of(sent))
    page = text(browser, "/admin/projectors/")
    assert "Fulfilment" in page
    assert "PaymentDeadline" in page


def test_a_refused_command_is_skipped_in_the_admin(browser: Client, fulfilment: Any) -> None:
    [order] = place_orders(1)
    store.append(f"order-{order}", [OrderPaid("by hand")], expected_version=1)
    for _ in range(sending.ATTEMPTS):
        run(1)
        tables.commands().objects.filter(status="waiting").update(try_at=timezone.now())
    letter = DeadLetter.objects.get()
    status = browser.get("/api/events/status/", headers={"Accept": "application/json"}).json()
    [row] = [each for each in status["processes"] if each["name"] == "Fulfilment"]
    assert (row["dead_letters"], row["commands"], row["timers"], status["dead_letters"]) == (1, 1, 1, 1)
    assert "only a placed order can be paid" in text(browser, f"/admin/processes/deadletter/{letter.pk}/change/")
    chosen = {"action": "skip", "_selected_action": [letter.pk], "reason": "paid by hand"}
    assert "Skip: 1 of 1 done" in browser.post("/admin/processes/deadletter/", chosen, follow=True).content.decode()
    run()
    assert commands_of(order) == [("PayOrder", "skipped"), ("ShipOrder", "sent")]
    assert history(order) == WHOLE[:3]


def test_dead_letters_are_listed_and_retried_by_the_command(
    fulfilment: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from apps.eventlog.management.commands import dead_letters

    monkeypatch.setitem(dead_letters.READERS, "Fulfilment", fulfilment)
    [order] = place_orders(1)
    with monkeypatch.context() as broken:
        broken.setattr(fulfilment, "placed", lambda *_: 1 / 0)
        run()
    call_command("dead_letters", "list")
    assert f"Fulfilment  position 2  order-{order}  failed" in capsys.readouterr().out
    call_command("dead_letters", "retry", "--projector", "Fulfilment")
    assert f"Fulfilment  order-{order}: 1 taken in" in capsys.readouterr().out
    run()
    assert history(order) == WHOLE[:3]


@pytest.mark.parametrize("rows", [Instance, Timer, OutgoingCommand])
def test_what_a_process_remembers_is_not_flushed(rows: Any, fulfilment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place_orders(1)
    run()
    monkeypatch.setattr(irreplaceable.store, "is_empty", lambda: True)
    monkeypatch.setattr(irreplaceable.data_keys, "is_empty", lambda: True)
    for model in {Instance, Timer, OutgoingCommand} - {rows}:
        model.objects.all().delete()
    for command in (("flush", "--database", "processes", "--no-input"), ("migrate", "processes", "zero")):
        with pytest.raises(CommandError, match=r"\(processes have state\)"):
            call_command(*command, verbosity=0)
    assert rows.objects.exists()
