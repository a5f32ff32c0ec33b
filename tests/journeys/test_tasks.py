"""Ten tasks of daily work by clicks in a real browser, with the number of clicks; and pages for everybody."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.journeys.deployment import Deployment, Server
from tests.journeys.test_pages import chromium, logged_in, stumbles, visiting  # noqa: F401  (the browser is a fixture)
from tests.journeys.test_pages import pytestmark as browser_marks

pytestmark = [*browser_marks, pytest.mark.sqlite]  # the pages are the same on both engines

# An order whose row lacks its payment, because the event is set aside; and an endpoint that fails.
PLANT = """
from apps.eventlog.models import StoredEvent
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.relay.webhooks.models import Endpoint
from apps.orders.models import DeadLetter, Order
from django.utils import timezone
row = Order.objects.filter(status="paid").last()
event = StoredEvent.objects.get(stream=f"order-{row.pk}", type="orders.OrderPaid")
DeadLetter.objects.create(projector="OrderProjector", stream=event.stream, position=event.pk, event_id=event.event_id,
    status="failed", attempts=3, error="ValueError: planted")
Order.objects.filter(pk=row.pk).update(status="placed", version=1, payment_reference="")
endpoint, _ = endpoints.create("https://hooks.example.org/<script>alert(1)</script>", ["users.UserErased"])
Endpoint.objects.filter(pk=endpoint.pk).update(failing_since=timezone.now(), last_error="no connection: planted")
"""


class Work:
    """A member of staff at work: every click is counted."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.url, self.clicks = page, server.url, 0

    def begin(self, path: str) -> None:
        self.page.goto(self.url + path)

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def link(self, name: str | re.Pattern[str], *, within: str = "main", exact: bool = True) -> None:
        self.click(self.page.locator(within).get_by_role("link", name=name, exact=exact).first)

    def button(self, name: str | re.Pattern[str]) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True).first)

    def says(self, text: str | re.Pattern[str], *, seconds: float = 10) -> None:
        expect(self.page.locator("main").first).to_contain_text(text, timeout=1000 * seconds)


@pytest.fixture(scope="module")
def site(template: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the demo's three weeks, and with two things that are wrong."""
    deployment = Deployment.make(tmp_path_factory.mktemp("tasks"), template)
    with deployment.process("examples/demo.py", DEBUG="on", DEMO_LOGIN="1") as demo:
        assert demo.wait(120) == 0
    deployment.manage("shell", "-v0", "-c", PLANT)
    with deployment.server() as server:
        yield server


@pytest.fixture(scope="module")
def desk(chromium: Browser, site: Server) -> Iterator[Page]:  # noqa: F811
    with logged_in(chromium, site, "/admin/", viewport={"width": 1440, "height": 900}) as page:
        yield page


@pytest.fixture
def work(desk: Page, site: Server) -> Work:
    return Work(desk, site)


def test_why_was_this_order_cancelled(work: Work) -> None:
    work.begin("/admin/")
    work.link("Orders", within=".databases")
    work.link("cancelled")
    work.link(re.compile("^[0-9a-f-]{36}$"))
    work.says(re.compile("users.UserDeactivated of user-"))
    work.link("users.UserDeactivated")
    work.says(re.compile("moved away|a test"))  # another task may have deactivated somebody too
    assert work.clicks == 4


def test_what_did_this_customer_look_like_last_tuesday(work: Work, site: Server) -> None:
    work.begin("/admin/")
    work.link("Users", within=".databases")
    work.link("Ines Petrov")
    [ines] = [user for user in site.client.get("/api/users/").json()["results"] if user["name"] == "Ines Petrov"]
    today = datetime.now(UTC)
    tuesday = today - timedelta(days=(today.weekday() - 1) % 7)
    then = site.client.get(f"/api/users/{ines['id']}/?at={tuesday:%Y-%m-%d}T23:59:59Z").json()
    work.button(re.compile("^Tue"))
    work.says(f"On {tuesday:%Y-%m-%d} at 23:59 UTC it was at version {then['version']}")
    cells = work.page.locator("#then-fields tr", has=work.page.get_by_role("rowheader", name="status", exact=True))
    expect(cells.locator("td").first).to_have_text(then["status"])
    assert work.clicks == 3


def test_a_dead_letter_is_found_and_retried_and_the_row_is_healed(work: Work) -> None:
    work.begin("/admin/")
    work.link("OrderProjector of orders has 1 dead letters")
    work.link(re.compile("^[0-9]+$"), within="#result_list")
    work.link(re.compile("^order-"))
    work.says("OrderProjector has set aside 1 event of this stream")
    work.link("OrderProjector has set aside", exact=False)
    work.link(re.compile("^[0-9]+$"), within="#result_list")
    work.button("Retry its stream, in order")
    work.says("Retry: 1 of 1 done")
    work.link("see the row")
    expect(work.page.locator(".field-status .readonly")).to_have_text("paid")
    expect(work.page.locator(".errornote")).to_have_count(0)
    assert work.clicks == 7


def test_which_projector_is_slow(work: Work, site: Server) -> None:
    site.register(1)
    work.begin("/admin/")
    work.link("Projectors and reactors", within=".databases")
    expect(work.page.locator(".tag")).to_have_text("slowest", timeout=10000)
    assert work.clicks == 1


def test_a_customer_is_deactivated_what_followed_is_seen_and_reactivated(work: Work, site: Server) -> None:
    [placed, *_] = site.client.get("/api/orders/?status=placed").json()["results"]
    work.begin("/admin/")
    work.link("Users", within=".databases")
    work.link(placed["customer_name"])
    work.button("Deactivate, with a reason")
    work.says(re.compile("[1-9] unpaid orders? will be cancelled"))
    work.page.get_by_label("Reason").fill("a test")
    work.button("Deactivate")
    expect(work.page.locator(".messagelist .success")).to_contain_text("Deactivate: 1 of 1 done")
    work.link("see what followed")
    work.says("orders.OrderCancelled")
    work.link(re.compile("^user-"))
    work.button("Reactivate")
    work.says("Orders that were cancelled stay cancelled.")
    work.button("Reactivate")
    expect(work.page.locator(".messagelist .success")).to_contain_text("Reactivate: 1 of 1 done")
    expect(work.page.locator(".field-status .readonly")).to_have_text("active")
    assert work.clicks == 8


def test_an_order_is_placed_and_watched(work: Work) -> None:
    work.begin("/")
    expect(work.page.locator("#state")).to_have_text("live")
    work.link("Place an order", within="nav")
    before = work.page.locator("#list li")
    expect(before).not_to_have_count(0)
    first = before.first.get_attribute("data-id")
    work.button("Place the order")
    expect(work.page.locator("#said")).to_contain_text("Placed: event")
    expect(before.first).not_to_have_attribute("data-id", first or "")
    work.link("the live page")
    expect(work.page.locator("#events li").first).to_contain_text("orders.OrderPlaced")
    assert work.clicks == 3


def test_an_order_is_found_by_the_beginning_of_its_id(work: Work, site: Server) -> None:
    [order] = site.client.get("/api/orders/?status=delivered&limit=1").json()["results"]
    work.begin("/admin/")
    work.page.get_by_label("Find").fill(order["id"][:8])
    work.button("Find")
    work.link(order["id"], exact=False)
    expect(work.page.get_by_role("heading", level=1)).to_contain_text(order["id"])
    assert work.clicks == 2


def test_everything_about_one_person_is_found(work: Work, site: Server) -> None:
    work.begin("/admin/")
    work.page.get_by_label("Find").fill("Ada@tea.example")
    work.button("Find")
    expect(work.page.get_by_role("heading", level=1)).to_contain_text("Ada Okafor")
    work.says("Orders")
    work.link("Everything that is held about this person")
    expect(work.page.locator("pre.prettyprint").last).to_contain_text("Ada Okafor")
    assert work.clicks == 2


def test_a_read_model_is_rebuilt_and_verified(work: Work) -> None:
    work.begin("/admin/")
    work.link("Projectors and reactors", within=".databases")
    job = work.page.locator("[data-live=job-UserProjector]")
    for name, outcome in (("Rebuild UserProjector", "Rebuilt from"), ("Verify UserProjector", "As the log says")):
        work.button(name)
        expect(work.page.get_by_role("button", name=name)).to_be_disabled()
        expect(job).to_contain_text(outcome, timeout=20000)
        expect(work.page.get_by_role("button", name=name)).to_be_enabled()
    expect(work.page.locator("[data-live=rebuild-UserProjector]")).to_have_text(re.compile(r"[0-9.]+ s"))
    assert work.clicks == 3


def test_a_failing_webhook_is_stopped(work: Work) -> None:
    work.begin("/admin/")
    work.link(re.compile("of webhooks fails since "))
    work.button("Stop it")
    work.says("it goes on where it was")
    work.button("Stop")
    expect(work.page.locator(".messagelist .success")).to_contain_text("Stop: 1 of 1 done")
    work.begin("/admin/")
    expect(work.page.locator("#wrong")).not_to_contain_text("of webhooks")
    assert work.clicks == 3


def test_a_customer_has_a_page_of_their_own_orders(chromium: Browser, site: Server) -> None:  # noqa: F811
    with visiting(chromium, f"{site.url}/") as page:
        page.get_by_role("link", name="Log in", exact=True).click()
        page.fill("#id_username", "ada@tea.example")
        page.fill("#id_password", "wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("do not fit")
        page.fill("#id_password", "tea and biscuits")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{site.url}/orders/")
        expect(page.locator("#state")).to_have_text("live")
        orders = page.locator("#list li")
        count = orders.count()
        page.get_by_role("button", name="Place the order").click()
        expect(orders).to_have_count(count + 1)
        orders.first.get_by_role("button", name="Pay the order").click()
        expect(orders.first).to_contain_text("paid")
        id = orders.first.get_attribute("data-id")
        site.client.post(f"/api/orders/{id}/ship/", json={"tracking_number": "T-1"})
        expect(orders.first).to_contain_text("shipped")  # live, by the stream
        page.locator("[name=unit_price]").fill("six")
        page.get_by_role("button", name="Place the order").click()
        expect(page.locator("#said")).to_contain_text("unit_price: money is a decimal string")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in", exact=True)).to_be_visible()


def test_the_api_docs_are_logged_in(work: Work, site: Server) -> None:
    [user, *_] = site.client.get("/api/users/?status=active").json()["results"]
    work.begin("/api/docs/")
    work.says("You are logged in as admin")
    call = work.page.locator("[id$=-users_rename]").first
    call.locator(".opblock-summary-control").click()
    call.get_by_placeholder("id", exact=True).fill(user["id"])
    call.locator("textarea").first.fill('{"name": "Renamed in the docs"}')
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("202", timeout=10000)
    assert site.client.get(f"/api/users/{user['id']}/").json()["name"] == "Renamed in the docs"


PAGES = ("/", "/orders/", "/admin/", "{order}", "/admin/projectors/")
MORE = (
    *("/admin/orders/order/", "{event}", "{ask}"),
    *(
        "/admin/users/user/",
        "{user}",
        "/admin/eventlog/storedevent/",
        "/admin/find/?q=Ada",
        "/admin/orders/deadletter/",
    ),
    *("/admin/orders/customer/", "/admin/webhooks/endpoint/", "/admin/webhooks/endpoint/add/", "/admin/eventlog/seal/"),
    *("/admin/auth/user/", "/admin/processes/instance/", "/admin/keys/personalkey/", "/admin/eventlog/job/"),
    *("/api/docs/", "/api/orders/", "/nowhere/", "/admin/password_change/", "/admin/orders/"),
)


def paths(site: Server, wanted: tuple[str, ...]) -> list[str]:
    order = site.client.get("/api/orders/?limit=1&status=cancelled").json()["results"][0]
    event = site.client.get(f"/api/events/?stream=order-{order['id']}").json()["results"][-1]["position"]
    names = {
        "order": f"/admin/orders/order/{order['id']}/change/",
        "user": f"/admin/users/user/{order['customer_id']}/change/",
        "event": f"/admin/eventlog/storedevent/{event}/change/",
        "ask": f"/admin/users/user/{order['customer_id']}/change/#ask",
    }
    return [path.format(**names) for path in wanted]


def faults_of(page: Page, url: str) -> list[str]:
    """What axe-core finds serious on a page, light and dark, and whether a narrow screen scrolls sideways."""
    page.emulate_media(color_scheme="light")
    page.goto(url.removesuffix("#ask"))
    if url.endswith("#ask"):
        page.get_by_role("button", name="Erase for good").click()
    if "/api/docs" in url:
        page.locator(".opblock").first.wait_for()
    found = stumbles(page)
    page.emulate_media(color_scheme="dark")
    found += [f"dark {each}" for each in stumbles(page)]
    page.set_viewport_size({"width": 390, "height": 844})
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.set_viewport_size({"width": 1440, "height": 900})
    return found + ([f"{url} is {wide} pixels too wide"] if wide > 0 else [])


def everywhere(browser: Browser, site: Server, wanted: tuple[str, ...]) -> list[str]:
    calm: dict[str, Any] = {"reduced_motion": "reduce", "bypass_csp": True, "viewport": {"width": 1440, "height": 900}}
    with visiting(browser, site.url, **calm) as page:
        found = faults_of(page, f"{site.url}/login/")
    with logged_in(browser, site, **calm) as page:
        return found + [fault for path in paths(site, wanted) for fault in faults_of(page, site.url + path)]


def test_nobody_stumbles_on_the_pages(chromium: Browser, site: Server) -> None:  # noqa: F811
    assert everywhere(chromium, site, PAGES) == []


@pytest.mark.nightly
def test_nobody_stumbles_on_any_page(chromium: Browser, site: Server) -> None:  # noqa: F811
    assert everywhere(chromium, site, (*PAGES, *MORE)) == []
