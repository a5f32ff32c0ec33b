"""The benchmarks that need no rival still run: what they measure moves on, and nobody runs them every day."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import engine

SHORT = {
    "admin.pages": "--events 1000 2000 --rounds 1",
    "personal.encryption": "--events 2000 --rounds 1",
    "replay.under_load": "--events 20000 --rest 2",
    "seals.sealing": "--events 5000 --rounds 1 --seconds 1",
    "workers.sharing": "--events 4000 --rounds 1",
}


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_a_benchmark_runs_and_prints_its_table(name: str, root: Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--db", "postgres" if engine.POSTGRES else "sqlite"]
    environment = {each: os.environ[each] for each in ("PATH", "HOME") if each in os.environ}
    run = subprocess.run(
        [*command, *SHORT[name].split()], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("\n| ") > 2
