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
    killed, mended = (Counter(each) for each in zip(*seen, strict=True))
    assert mended == {"new": times}
    assert killed["torn"] == 0, killed
    if times == 100:
        assert killed["between"] > 10, killed  # many instants fell after one switch and before another
