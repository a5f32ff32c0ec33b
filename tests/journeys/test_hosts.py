"""Two webs, two workers, a primary and its standby on hosts of their own: see `tests/support/drill.py`."""

import subprocess
import sys

import pytest

from tests.journeys.deployment import ROOT
from tests.support.hosts import can_make_hosts


@pytest.mark.nightly
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_hosts_that_are_cut_off_stopped_or_killed_lose_double_and_skip_nothing() -> None:
    if not can_make_hosts():
        pytest.skip("network namespaces cannot be made here")
    drill = [sys.executable, "-m", "tests.support.drill", "--seconds", "120"]
    result = subprocess.run(drill, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
