"""A replay killed at any instant: readers keep whole rows, old or new, and the next one gives those of a clean one."""

import pytest

from tests.journeys.deployment import Deployment
from tests.journeys.test_replay import MAKE_HISTORY

KILL = "from tests.journeys.kills import kill; kill({times}, seed={seed})"


def killed(deployment: Deployment, times: int, seed: int) -> list[int]:
    deployment.manage("shell", "-v0", "-c", MAKE_HISTORY)
    said = deployment.manage("shell", "-v0", "-c", KILL.format(times=times, seed=seed), seconds=900)
    return [int(number) for number in said.split()]


def test_a_replay_killed_at_random_instants_is_whole_again_after_the_next(deployment: Deployment) -> None:
    assert killed(deployment, times=5, seed=1)[0] == 5


@pytest.mark.nightly
@pytest.mark.timeout(1000)
def test_a_hundred_replays_killed_at_random_instants(deployment: Deployment) -> None:
    times, between = killed(deployment, times=100, seed=2)
    assert times == 100
    assert between > 10  # the instants are spread: many fell after one switch and before another
