"""Lines and counts that a server does a moment later: all of them, in order, also after a fork and at the end."""

import subprocess
import sys
from typing import Any

import pytest

from apps.eventlog.monitoring import later as module
from apps.eventlog.monitoring.later import Later

PROCESS = """
import os, sys, time
from apps.eventlog.monitoring.later import Later
later, done = Later(), []
later.begin()
later.do(print, "parent")
later.flush()
if os.fork() == 0:
    later.do(done.append, "child")
    deadline = time.monotonic() + 10
    while not done and time.monotonic() < deadline:
        time.sleep(0.01)
    os.write(1, f"{done}\\n".encode())
    os._exit(0)
os.wait()
later.do(print, "at the end", flush := True)
"""


def test_a_fork_and_the_end_of_a_process_lose_nothing() -> None:
    run = subprocess.run([sys.executable, "-uc", PROCESS], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.splitlines() == ["parent", "['child']", "at the end True"]


def test_before_it_begins_work_is_done_at_once() -> None:
    done: list[int] = []
    Later().do(done.append, 1)
    assert done == [1]


def test_what_fails_does_not_keep_the_rest_and_what_is_too_much_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    monkeypatch.setattr(module.threading, "Thread", lambda **_: _Unstarted())
    done, later = [], Later()
    later.begin()
    for work in (done.append, _fails, done.append, done.append):
        later.do(work, len(done))
    later.flush()
    assert done == [0, 0]
    assert [record.message for record in caplog.records] == [
        "a line or a count is lost",
        "1 lines and counts are lost: the log was not taken",
    ]


class _Unstarted:
    def start(self) -> None:
        """The test flushes itself."""


def _fails(*_: Any) -> None:
    raise ZeroDivisionError
