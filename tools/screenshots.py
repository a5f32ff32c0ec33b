#!/usr/bin/env python
"""Take the pictures of the README: `make screenshots`. Needs Chromium.

Starts a server on demo data of its own, sends some orders, and looks at the pages.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

PORT = "8031"
URL = f"http://127.0.0.1:{PORT}"


def call(method: str, path: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(URL + path, json.dumps(body).encode() if body else None, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def await_server() -> None:
    for _ in range(600):
        try:
            call("GET", "/readyz")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start")


def send_orders(token: str, seconds: int) -> None:
    """Orders as they might come in, for some seconds."""
    chance = random.Random(3)  # noqa: S311
    customers = [user["id"] for user in call("GET", "/api/users/?status=active", token=token)["results"]]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = {"sku": "TEA-GREEN-100", "quantity": chance.randint(1, 6), "unit_price": "6.40"}
        body = {"customer_id": chance.choice(customers), "currency": "EUR", "lines": [line]}
        order = call("POST", "/api/orders/", body, token)
        if chance.random() < 0.6:
            call("POST", f"/api/orders/{order['id']}/pay/", {"payment_reference": "PAY-1"}, token)
        if chance.random() < 0.2:
            name = {"name": f"Ada Okafor {chance.randint(1, 99)}"}
            call("POST", f"/api/users/{chance.choice(customers)}/rename/", name, token)
        time.sleep(chance.random() * 0.5)


def take(folder: Path) -> None:
    token = call("POST", "/api/auth/login/", {"username": "admin", "password": "admin"})["token"]
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1120, "height": 760})
        page.goto(URL)
        page.click("main button")
        send_orders(token, 40)
        page.screenshot(path=folder / "live.png")
        page.goto(f"{URL}/orders/")
        page.get_by_role("button", name="Place the order").click()
        page.get_by_text("Placed: event").wait_for()
        page.screenshot(path=folder / "orders.png")
        take_admin(page, token, folder)
        browser.close()


def take_admin(page: Page, token: str, folder: Path) -> None:
    order = call("GET", "/api/orders/?status=delivered&limit=1", token=token)["results"][0]["id"]
    page.goto(f"{URL}/admin/orders/order/{order}/change/")
    page.locator("#version").fill("2")
    page.locator("#then-other", has_text="Version 1").wait_for()
    page.locator("#version").blur()
    page.locator("#then").screenshot(path=folder / "then.png")
    cancelled = call("GET", "/api/events/?type=orders.OrderCancelled&limit=1000", token=token)["results"][-1]
    page.goto(f"{URL}/admin/eventlog/storedevent/{cancelled['position']}/change/")
    page.screenshot(path=folder / "event.png", full_page=True)
    page.set_viewport_size({"width": 1440, "height": 760})
    page.goto(f"{URL}/admin/projectors/")
    for button in ("Rebuild OrderProjector", "Verify UserProjector"):
        page.get_by_role("button", name=button).click()
    page.get_by_text("As the log says").wait_for()
    page.screenshot(path=folder / "projectors.png")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        command = ["make", "run", f"PORT={PORT}", f"DATA_DIR={data}"]
        server = subprocess.Popen(
            command, env=os.environ | {"DATA_DIR": data}, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            await_server()
            take(folder)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


if __name__ == "__main__":
    main()
