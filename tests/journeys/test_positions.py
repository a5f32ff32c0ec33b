"""Reading one's own writes while a worker projects them."""

import pytest

from tests.journeys.deployment import Deployment


@pytest.mark.parametrize("times", [20, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])])
def test_a_query_right_behind_its_command_is_never_stale(deployment: Deployment, times: int) -> None:
    with deployment.server(PROJECTIONS="worker") as server, deployment.worker(PROJECTIONS="worker"):
        client = server.client
        user = client.post("/api/users/", json={"email": "ann@example.org", "name": "Ann"}).json()["id"]
        answered = 0
        for number in range(times):
            sent = client.post(f"/api/users/{user}/rename/", json={"name": f"Ann {number}"})
            headers = {"Min-Event-Position": sent.headers["Event-Position"]}
            for path in (f"/api/users/{user}/", "/api/users/"):
                answer = client.get(path, headers=headers)
                if answer.status_code == 503:  # it says so
                    assert answer.headers["Retry-After"] == "1"
                    continue
                document = answer.json() if path.endswith(f"{user}/") else answer.json()["results"][0]
                assert (document["name"], document["version"]) == (f"Ann {number}", number + 2)
                answered += 1
        assert answered > times
