"""The pages in a real browser: what happens comes live, without a gap; the past, an action, a rebuild."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.journeys.deployment import Deployment, Server, free_port
from tests.journeys.test_stream import log_of
from tests.support.older_log import SavedLog
from tests.support.receiver import Receiver, answers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
LINES = [{"sku": "TEA", "quantity": 2, "unit_price": "6.40"}]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(template: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests share; each works with a customer and an order of its own."""
    with Deployment.make(tmp_path_factory.mktemp("site"), template).server() as server:
        yield server


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of nobody; an error of a script, or what the Content-Security-Policy refused, fails the test."""
    errors: list[str] = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(url)
    yield page
    context.close()
    assert errors == []


@contextmanager
def logged_in(browser: Browser, server: Server, path: str = "/", **options: Any) -> Iterator[Page]:
    """A page of staff, by the login form."""
    with visiting(browser, f"{server.url}/admin/login/?next={path}", **options) as page:
        page.fill("#id_username", "admin")
        page.fill("#id_password", "admin")
        page.click("[type=submit]")
        yield page


def place(server: Server, number: int) -> tuple[str, str]:
    """A new customer, renamed once, and an order of theirs; returns the two ids."""
    user = server.register(number).json()["id"]
    server.client.post(f"/api/users/{user}/rename/", json={"name": "Renamed"})
    body = {"customer_id": user, "currency": "EUR", "lines": LINES}
    return user, server.client.post("/api/orders/", json=body).json()["id"]


def positions(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#events .position").all_text_contents()]


def test_an_order_arrives_live_and_after_a_restart_nothing_is_missing(
    deployment: Deployment, chromium: Browser
) -> None:
    port = free_port()
    with deployment.server(port=port) as server, logged_in(chromium, server) as page:
        expect(page.locator("#state")).to_have_text("live")
        place(server, 1)
        expect(page.locator("#events li")).to_have_count(3)
        page.locator("#events summary").first.click()
        expect(page.locator("#events pre").first).to_contain_text('"sku": "TEA"')
        page.fill("#filter", "renamed")
        expect(page.locator("#events li:visible")).to_have_count(1)
        page.fill("#filter", "")
        page.click("[data-category=order]")
        expect(page.locator("#events li:visible")).to_have_count(2)
        page.click("#pause")
        server.register(3)
        expect(page.locator("#pause")).to_have_text("Resume (1)")
        assert positions(page) == [3, 2, 1]
        page.click("#pause")
        expect(page.locator("#events li")).to_have_count(4)
        server.process.kill()
        server.process.wait()
        expect(page.locator("#state")).to_have_text("reconnecting")
        with deployment.server(port=free_port()) as elsewhere:
            elsewhere.register(4)
        with deployment.server(port=port) as again:
            again.register(5)
            expect(page.locator("#events li")).to_have_count(6, timeout=15000)
            assert positions(page) == [6, 5, 4, 3, 2, 1]
            expect(page.locator("#projectors")).to_contain_text("UserProjector")


def test_events_that_a_log_has_lost_leave_the_page(deployment: Deployment, chromium: Browser) -> None:
    with deployment.server() as server, logged_in(chromium, server) as page, log_of(deployment) as log:
        place(server, 1)
        saved = SavedLog(log)
        expect(page.locator("#events li")).to_have_count(3)
        place(server, 2)
        expect(page.locator("#events li")).to_have_count(6)
        saved.put_back()
        expect(page.locator("#events li")).to_have_count(3)
        server.register(3)
        expect(page.locator("#events li")).to_have_count(4)
        assert positions(page) == [4, 3, 2, 1]
        expect(page.locator("#projectors")).to_contain_text("the log went back")
        page.goto(f"{server.url}/admin/projectors/")
        expect(page.locator("#wrong")).to_contain_text("UserProjector")
        saved.forget()


@pytest.mark.sqlite  # the pages are the same on both
def test_webhooks_that_fail_or_have_stopped_are_on_the_page_with_the_way_to_them(
    deployment: Deployment, chromium: Browser
) -> None:
    with Receiver() as receiver, deployment.server(WEBHOOKS_PRIVATE="on") as server:
        for name, status in (("fails", 500), ("gone", 410)):
            receiver.behave(name, answers(status))
            server.client.post("/api/webhooks/", json={"url": receiver.url(name)}).raise_for_status()
        server.register(1)
        with logged_in(chromium, server) as page:
            expect(page.locator("#wrong")).to_contain_text("UTC: the answer was 500")
            page.get_by_role("link", name="has stopped: the answer was 410, its receiver is gone").click()
            expect(page.locator("#id_url")).to_have_value(receiver.url("gone"))


@pytest.mark.sqlite  # the pages are the same on both
def test_events_leave_the_page_when_its_session_ends(deployment: Deployment, chromium: Browser) -> None:
    with deployment.server() as server, logged_in(chromium, server) as page:
        server.register(1)
        expect(page.locator("#events li")).to_have_count(1)
        assert deployment.query("default", "DELETE FROM django_session RETURNING 1")
        expect(page.locator("#state")).to_contain_text("Log in again", timeout=20000)
        expect(page.locator("#events li")).to_have_count(0)


def test_the_slider_shows_a_user_as_of_any_version_or_instant(site: Server, chromium: Browser) -> None:
    user, _ = place(site, 10)
    registered = site.client.get(f"/api/users/{user}/?version=1").json()["registered_at"]
    with logged_in(chromium, site, f"/admin/users/user/{user}/change/") as page:
        cells = page.locator("#then-fields tr", has=page.get_by_role("rowheader", name="name", exact=True)).locator(
            "td"
        )
        expect(cells).to_have_text(["Renamed", "User 10"])
        page.locator("#version").fill("1")
        expect(cells).to_have_text(["User 10", ""])
        expect(page.locator("#then-other")).to_have_text("Before the first event")
        page.locator("#against").fill("2")
        expect(cells).to_have_text(["User 10", "Renamed"])
        expect(page.locator("#then-said")).to_have_text("Not the same: version, name, updated_at")
        page.locator("#version").fill("2")
        page.locator("#day").fill("2000-01-01")
        page.locator("#hour").select_option("10")
        expect(page.locator("#then-said")).to_contain_text(
            "It was not there yet on 2000-01-01 at 10:59 UTC. It began on"
        )
        expect(page.locator("#then-fields")).to_be_hidden()
        page.locator("#day").fill(registered[:10])
        page.locator("#hour").select_option("")
        expect(cells).to_have_text(["Renamed", "User 10"])
        page.goto(f"{site.url}/admin/orders/customer/{user}/change/")  # a copy follows the same stream
        page.locator("#version").fill("1")
        expect(cells).to_have_text(["User 10", ""])


def test_an_order_is_cancelled_in_the_admin(site: Server, chromium: Browser) -> None:
    _, order = place(site, 20)
    with logged_in(chromium, site, f"/admin/orders/order/{order}/change/") as page:
        page.get_by_role("button", name="Cancel, with a reason").click()
        page.get_by_label("Reason").fill("ordered twice")
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.locator(".messagelist .success")).to_contain_text("Cancel: 1 of 1 done")
        page.get_by_role("link", name="see what followed").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("orders.OrderCancelled")
        assert site.client.get(f"/api/orders/{order}/").json()["cancel_reason"] == "ordered twice"


def stumbles(page: Page) -> list[str]:
    """What axe-core finds serious on a page, with where it is."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [f"{page.url} {each['id']}: {node['html']}" for each in serious for node in each["nodes"]]


@pytest.mark.sqlite  # the pages are the same on both
def test_the_apis_own_pages_work_under_their_policy(site: Server, chromium: Browser) -> None:
    order = place(site, 50)[1]
    with logged_in(chromium, site, "/api/orders/") as page:
        expect(page.locator("pre.prettyprint").last).to_contain_text(order)
        page.goto(f"{site.url}/api/docs/")
        page.locator("[id=operations-orders-orders_create]").click()
        expect(page.locator("[id=operations-orders-orders_create]")).to_contain_text("Idempotency-Key")


def test_axe_finds_a_planted_fault(chromium: Browser) -> None:
    with visiting(chromium, "data:text/html,<html lang=en><title>A</title><button></button>") as page:
        assert [fault.split()[-2] for fault in stumbles(page)] == ["button-name:"]
