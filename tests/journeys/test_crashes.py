"""Processes die at the worst moments, by SIGKILL; nothing acknowledged is lost and the rows follow."""

import signal

import httpx
import pytest

from tests.journeys.deployment import Deployment, eventually


def test_killed_between_append_and_projection_the_next_server_brings_the_rows_up(deployment: Deployment) -> None:
    with deployment.server(FAILPOINT="appended") as server:
        with pytest.raises(httpx.TransportError):
            server.register(1)
        assert server.process.wait(timeout=10) == -signal.SIGKILL
    with deployment.server() as server:
        assert server.client.get("/api/events/").json()["results"][0]["data"]["name"] == "User 1"
        eventually(lambda: server.names() == ["User 1"], 2.0)  # though no command comes
        assert server.register(2).status_code == 201
        assert server.names() == ["User 1", "User 2"]


@pytest.mark.parametrize("failpoint", ["appended", "projected"])
def test_killed_before_or_in_a_projection_a_worker_brings_the_rows_up(deployment: Deployment, failpoint: str) -> None:
    with deployment.server(FAILPOINT=failpoint) as server, pytest.raises(httpx.TransportError):
        server.register(1)
    deployment.manage("run_projectors", "--once")
    with deployment.server() as server:
        assert server.names() == ["User 1"]


KILLERS = """
import os, signal
from apps.eventlog.delivery import projecting
from apps.users.models import Checkpoint, DeadLetter
from apps.users.read.projectors import UserProjector

UserProjector.deactivated = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
killed = 0
while True:
    child = os.fork()
    if not child:
        projecting.catch_up("users")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    killed += 1
print(killed, [(letter.status, letter.attempts) for letter in DeadLetter.objects.all()])
"""


def test_an_event_that_kills_every_process_is_set_aside_after_three(deployment: Deployment) -> None:
    with deployment.server(PROJECTIONS="worker") as server:
        users = [server.register(number).json()["id"] for number in range(3)]
        server.client.post(f"/api/users/{users[0]}/deactivate/", json={"reason": "left"})
        server.client.post(f"/api/users/{users[1]}/rename/", json={"name": "User 9"})
        assert deployment.manage("shell", "-v0", "-c", KILLERS) == "4 [('failed', 3)]\n"
        assert server.names() == ["User 0", "User 2", "User 9"]


def test_a_retry_with_the_same_key_after_a_crash_makes_one_event(deployment: Deployment) -> None:
    body, key = {"email": "ann@example.org", "name": "Ann"}, {"Idempotency-Key": "k"}
    with deployment.server(FAILPOINT="appended") as server, pytest.raises(httpx.TransportError):
        server.client.post("/api/users/", json=body, headers=key)
    with deployment.server() as server:
        answer = server.client.post("/api/users/", json=body, headers=key)
        assert (answer.status_code, answer.json()["position"]) == (201, 1)
        assert len(server.client.get("/api/events/").json()["results"]) == 1


def test_a_killed_replay_leaves_the_old_rows_and_the_next_one_succeeds(deployment: Deployment) -> None:
    with deployment.server() as server:
        for number in range(3):
            server.register(number)
        before = server.client.get("/api/users/").json()
        deployment.manage("replay_events", "--service", "users", check=False, FAILPOINT="switching")
        assert server.client.get("/api/users/").json() == before
        deployment.manage("replay_events")
        assert server.client.get("/api/users/").json() == before
        assert server.register(4).status_code == 201
        assert len(server.names()) == 4


def test_a_worker_projects_what_the_server_appends(deployment: Deployment) -> None:
    with deployment.server(PROJECTIONS="worker") as server, deployment.worker() as worker:
        server.register(0)
        eventually(lambda: "User 0" in server.names())  # the worker has come up
        for number in range(1, 5):
            answer = server.register(number)
            position = {"Min-Event-Position": answer.headers["Event-Position"]}
            assert server.client.get(f"/api/users/{answer.json()['id']}/", headers=position).status_code == 200
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0
        server.register(9)
        assert "User 9" not in server.names()
        with deployment.worker():
            eventually(lambda: "User 9" in server.names())
