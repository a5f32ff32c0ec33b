"""Schemathesis over the shipped server, with every check: each answer is one that the schema has, none a 5xx."""

import os
import subprocess
import sys

import pytest

from tests.journeys.deployment import ROOT, Deployment, Server

SHORT = ("--phases", "fuzzing", "--max-examples", "2")
LONG = ("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "100")
ITS_OWN_END = ("users_deactivate", "users_erase")  # of the login that a customer's run has


def fuzz(server: Server, *options: str) -> None:
    """Fails on any finding, with the report."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/schema/", "--seed", "1"]
    token = server.client.headers["Authorization"]
    result = subprocess.run(
        [*command, "--header", f"Authorization: {token}", "--generation-database", "none", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def as_customer(server: Server) -> Server:
    person = {"email": "ann@example.org", "name": "Ann", "password": "correct horse battery"}
    server.client.post("/api/users/", json=person).raise_for_status()
    login = {"username": person["email"], "password": person["password"]}
    return Server(server.process, server.port, server.client.post("/api/auth/login/", json=login).json()["token"])


def test_every_answer_is_one_that_the_schema_has(deployment: Deployment) -> None:
    with deployment.server() as server:
        fuzz(server, *SHORT)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_every_answer_to_staff_and_to_a_customer_is_one_that_the_schema_has(deployment: Deployment) -> None:
    with deployment.server() as server:
        fuzz(server, *LONG)
        fuzz(as_customer(server), *LONG, *[text for name in ITS_OWN_END for text in ("--exclude-operation-id", name)])
    assert " ERROR " not in (deployment.directory / "processes.log").read_text()
