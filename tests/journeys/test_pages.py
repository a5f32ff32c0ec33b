"""The pages in a real browser: log in, watch an order arrive, lose the server, come back without a gap."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.journeys.deployment import Deployment, Server, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium"),
]


@contextmanager
def logged_in(server: Server) -> Iterator[Page]:
    """A browser on the live page as staff; a script error on any page fails the test."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/admin/login/?next=/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", "admin")
        page.click("[type=submit]")
        yield page
        chromium.close()
    assert errors == []


def positions(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#events .position").all_text_contents()]


def test_events_arrive_live_and_after_a_restart_without_a_gap(deployment: Deployment) -> None:
    port = free_port()
    with deployment.server(port) as server, logged_in(server) as page:
        expect(page.locator("#state")).to_have_text("live")
        for number in range(3):
            server.register(number)
        expect(page.locator("#events li")).to_have_count(3)
        page.locator("#events summary").first.click()
        expect(page.locator("#events pre").first).to_contain_text("User 2")
        page.fill("#filter", "nothing like this")
        expect(page.locator("#events li:visible")).to_have_count(0)
        page.fill("#filter", "")
        page.click("#pause")
        server.register(3)
        expect(page.locator("#head")).to_have_text("4")
        assert positions(page) == [3, 2, 1]
        page.click("#pause")
        expect(page.locator("#events li")).to_have_count(4)
        server.process.kill()
        server.process.wait()
        expect(page.locator("#state")).to_have_text("reconnecting")
        with deployment.server(free_port()) as elsewhere:
            elsewhere.register(4)
        with deployment.server(port) as again:
            again.register(5)
            expect(page.locator("#events li")).to_have_count(6, timeout=15000)
            assert positions(page) == [6, 5, 4, 3, 2, 1]
            expect(page.locator("#projectors")).to_contain_text("UserProjector")


def test_the_slider_shows_a_user_as_of_any_version(deployment: Deployment) -> None:
    with deployment.server() as server, logged_in(server) as page:
        id = server.register(1).json()["id"]
        server.client.post(f"/api/users/{id}/rename/", json={"name": "Renamed"})
        page.goto(f"{server.url}/admin/users/user/{id}/change/")
        name = page.locator("#then-fields tr", has_text="name").first
        expect(name).to_contain_text("Renamed")
        expect(name).to_contain_text("User 1")  # the version before
        page.locator("#version").fill("1")
        expect(page.locator("#version-now")).to_have_text("1")
        expect(page.locator("#then-fields tr", has_text="email").locator(".changed").first).to_have_text(
            "u1@example.org"
        )
