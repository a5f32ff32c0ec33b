"""A replay killed at any instant: readers keep whole rows, old or new, and the next one gives those of a clean one."""

import json
from collections import Counter

import pytest

from tests.journeys.deployment import Deployment
from tests.journeys.test_replay import MAKE_HISTORY

KILL = MAKE_HISTORY + "; from tests.journeys.kills import kill; kill({times}, seed={times})"
LONG = pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(1000)])


@pytest.mark.parametrize("times", [4, LONG])
def test_a_replay_killed_at_random_instants_is_whole_again_after_the_next(deployment: Deployment, times: int) -> None:
    seen = json.loads(deployment.manage("shell", "-v0", "-c", KILL.format(times=times), seconds=900))
    assert {after for _, after in seen} == {"new"}
    killed = Counter(before for before, _ in seen)
    assert set(killed) <= {"old", "new", "between"}
    if times == 100:
        assert killed["between"] > 10  # the instants are spread: many fell after one switch and before another
