"""The logins that everybody knows are there for a first look on one's own machine, and nowhere else."""

import os
import subprocess
import sys

import pytest

from tests.journeys.deployment import ROOT, Deployment

LOGINS = [("admin", "admin"), ("ada@tea.example", "tea and biscuits")]
OFFER = "Watch it work, as"


def example(deployment: Deployment, name: str, **environment: str) -> str:
    command = [sys.executable, f"examples/{name}.py"]
    variables = deployment.environment | environment
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def logins(deployment: Deployment, **environment: str) -> tuple[list[int], bool, int]:
    """What each login is answered, whether the page offers one, and the answer to the offer."""
    with deployment.server(**environment) as server:
        client = server.client
        del client.headers["Authorization"]
        answers = [
            client.post("/api/auth/login/", json={"username": name, "password": password}).status_code
            for name, password in LOGINS
        ]
        page = client.get("/")
        headers = {"X-CSRFToken": client.cookies.get("csrftoken", ""), "Referer": server.url}
        return answers, OFFER in page.text, client.post("/demo-login/", headers=headers).status_code


def test_a_demo_login_goes_if_others_may_reach_the_server_and_comes_back(deployment: Deployment) -> None:
    deployment.manage("shell", "-v0", "-c", "from django.contrib.auth.models import User; User.objects.all().delete()")
    here, elsewhere = {"DEBUG": "on", "DEMO_LOGIN": "1"}, {"DEBUG": "on", "DEMO_LOGIN": "0"}
    assert "admin / admin" in example(deployment, "staff", **here)
    assert "ada@tea.example / tea" in example(deployment, "demo", **here)
    assert logins(deployment, **here) == ([200, 200], True, 302)
    told = example(deployment, "staff", **elsewhere)
    assert "The demo login admin is closed" in told
    assert "DEMO_LOGIN=1" in told
    assert logins(deployment, **elsewhere) == ([401, 401], False, 403)  # a page without the offer sends no CSRF token
    assert "No demo login" in example(deployment, "staff", **elsewhere)  # and again nothing to close
    example(deployment, "staff", **here)
    assert logins(deployment, **here) == ([200, 200], True, 302)


@pytest.mark.parametrize(
    ("host", "asked", "offered"),
    [("127.0.0.1", "", "1"), ("localhost", "", "1"), ("0.0.0.0", "", "0"), ("::", "", "0"), ("0.0.0.0", "1", "1"),
     ("127.0.0.1", "0", "0"), ("127.0.0.1.example.org", "", "0")],
)  # fmt: skip
def test_make_offers_it_on_the_loopback_address_or_if_asked(host: str, asked: str, offered: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DEMO_LOGIN"}
    arguments = [f"HOST={host}", *([f"DEMO_LOGIN={asked}"] if asked else [])]
    shown = "show: ; @echo $(DEMO_LOGIN) $$DEMO_LOGIN"
    result = subprocess.run(
        ["make", "-s", "-f", "Makefile", "--eval", shown, "show", *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == [offered, offered]
