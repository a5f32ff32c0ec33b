"""The counts of several processes are added up, and those of processes that have ended stay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apps.eventlog.monitoring import shared_counts
from apps.eventlog.monitoring.shared_counts import SharedCounts

PROCESS = """
import json, os, sys
from pathlib import Path
from apps.eventlog.monitoring.shared_counts import SharedCounts
shared = SharedCounts(Path(sys.argv[1]))
shared.install()
from prometheus_client import Gauge, Histogram
seconds = Histogram("seconds", "s", ["of"], buckets=[1, 2])
waiting = Gauge("waiting", "w", multiprocess_mode="livesum")
def sums():
    return {f"{sample.name} {sample.labels.get('le', '')}": sample.value
            for metric in shared.collect() for sample in metric.samples}
for line in sys.stdin:
    if line == "fork\\n":
        if os.fork() == 0:
            seconds.labels("a").observe(1.5)
            os._exit(0)
        os.wait()
    elif line != "sums\\n":
        seconds.labels("a").observe(1.5)
        waiting.set(float(line))
    print(json.dumps(sums()), flush=True)
"""
COUNT, LOW, HIGH = "seconds_count ", "seconds_bucket 1.0", "seconds_bucket 2.0"


class Process:
    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", PROCESS, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> dict[str, float]:
        """A number counts an observation, and is what waits; `sums` and `fork` are words of their own."""
        assert self.process.stdin
        assert self.process.stdout
        print(line, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@contextmanager
def processes(folder: Path, number: int) -> Iterator[list[Any]]:
    started = [Process(folder) for _ in range(number)]
    yield started
    for each in started:
        each.kill()


def test_what_ended_processes_counted_stays_and_what_waited_there_does_not(tmp_path: Path) -> None:
    with processes(tmp_path, 3) as [one, two, three]:
        one.tell("5")
        two.tell("6")
        assert three.tell("7") == {
            COUNT: 3,
            "seconds_sum ": 4.5,
            LOW: 0,
            HIGH: 3,
            "seconds_bucket +Inf": 3,
            "waiting ": 18,
        }
        two.kill()
        assert (one.tell("sums")[COUNT], one.tell("sums")["waiting "]) == (3, 12)
        for _ in range(3):  # each adds up those that have ended before
            with processes(tmp_path, 1) as [another]:
                another.tell("1")
        assert (one.tell("sums")[COUNT], one.tell("sums")[HIGH], one.tell("sums")["waiting "]) == (6, 6, 12)
        assert len(list(tmp_path.glob("histogram_*.db"))) <= 4
    with processes(tmp_path, 1) as [first]:
        assert first.tell("sums").get(COUNT, 0) == 0


def test_a_fork_counts_in_files_of_its_own(tmp_path: Path) -> None:
    with processes(tmp_path, 1) as [one]:
        one.tell("1")
        assert one.tell("fork")[COUNT] == 2
        assert len(list(tmp_path.glob("*.alive"))) == 2


def test_nobody_waits_for_ever_for_a_process_that_keeps_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_counts, "PATIENCE", 0.02)
    with SharedCounts(tmp_path)._alone(), pytest.raises(TimeoutError):
        list(SharedCounts(tmp_path).collect())
    assert list(SharedCounts(tmp_path).collect()) == []


def test_a_folder_that_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        SharedCounts(tmp_path / "file" / "metrics").install()


AT_ONCE = """
import threading
from apps.eventlog.monitoring import instruments
together, made = threading.Barrier(8), []
def make():
    together.wait()
    made.append(instruments.instruments())
threads = [threading.Thread(target=make) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(made))
"""


def test_threads_that_begin_to_count_at_once_do_not_fail(root: Path, tmp_path: Path) -> None:
    """A server whose follower was as quick as itself did not start."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", AT_ONCE]
    environment = os.environ | {"DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "8", done.stderr
