"""The typed clients of the examples are generated, compiled and run against a server."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.deployment import ROOT, Deployment, Server

PASSWORD = "correct horse battery"

pytestmark = [
    pytest.mark.sqlite,  # the schema is the same on both
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm: install Node.js"),
]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def place(server: Server, folder: Path, *command: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    return run(folder, *command, server.url, "ann@example.org", password)


@pytest.mark.timeout(300)
def test_the_typed_clients_compile_and_place_an_order(deployment: Deployment, tmp_path: Path) -> None:
    built = run(ROOT, sys.executable, "examples/clients/build.py", str(tmp_path))
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Warning" not in built.stdout
    programs = {"python": (sys.executable, "place_order.py"), "typescript": ("node", "place_order.js")}
    with deployment.server() as server:
        body = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}
        assert server.client.post("/api/users/", json=body).status_code == 201
        for folder, command in programs.items():
            placed = place(server, tmp_path / folder, *command)
            assert placed.returncode == 0, placed.stderr
            assert re.fullmatch(r"[0-9a-f-]{36} placed 39\.80 EUR\n", placed.stdout)
            refused = place(server, tmp_path / folder, *command, password="wrong")
            assert refused.returncode == 1
            assert "unknown user or wrong password" in refused.stderr
        assert len(server.client.get("/api/orders/").json()["results"]) == 2
