"""Relays and NATS killed while orders are placed, and the target put back: each event is there once, in order."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.journeys.deployment import ROOT, Deployment, eventually
from tests.journeys.test_workers import APPENDS
from tests.support.jetstream import Received, make_stream, messages
from tools import nats_server

PERSONAL = {"email", "name"}


def relay(deployment: Deployment, nats: nats_server.Server, stack: ExitStack) -> subprocess.Popen[bytes]:
    return stack.enter_context(deployment.process("manage.py", "relay_events", nats.url, PYTHONUNBUFFERED="1"))


def count(deployment: Deployment) -> int:
    return int(deployment.query("eventlog", "SELECT count(*) FROM eventlog_event")[0][0])


def filled(nats: nats_server.Server, number: int) -> bool:
    with suppress(Exception):  # it is being killed, or the stream is not there yet
        return len(messages(nats.url)) >= number
    return False


def assert_each_event_once_in_order(deployment: Deployment, found: list[Received]) -> None:
    log = deployment.log()
    assert [each.position for each in found] == [recorded.position for recorded in log]
    for each, recorded in zip(found, log, strict=True):
        document = recorded.document()
        data = {name: value for name, value in document["data"].items() if name not in PERSONAL}
        assert each.document == document | {"data": data}
    assert any(PERSONAL & recorded.data.keys() for recorded in log)


LONG = [pytest.mark.nightly, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("orders", "kills", "outages"), [(75, 4, 1), pytest.param(2500, 20, 3, marks=LONG, id="nightly")]
)
def test_relays_and_nats_killed_at_random_leave_each_event_once_in_order(
    deployment: Deployment, tmp_path: Path, orders: int, kills: int, outages: int
) -> None:
    chance, nats = random.Random(kills), nats_server.Server(tmp_path / "nats")
    with ExitStack() as stack:
        nats.start()
        stack.callback(nats.kill)
        # NATS forgets the ids of messages at once, so that nothing but the sequences keeps doubles away.
        make_stream(nats.url, name="headrace", subjects=["headrace.>"], duplicate_window=0.1)
        relays = [relay(deployment, nats, stack) for _ in range(2)]
        script = APPENDS.format(orders=orders)
        writer = stack.enter_context(deployment.process("manage.py", "shell", "-v0", "-c", script))
        eventually(lambda: filled(nats, 20), 60)
        acts = ["kill"] * kills + ["outage"] * outages
        chance.shuffle(acts)
        rolled_back = False
        for act in acts:
            time.sleep(chance.uniform(0.1, 0.5))  # the instant, not a wait for anything
            if act == "kill":
                number = chance.randrange(2)
                relays[number].kill()
                relays[number] = relay(deployment, nats, stack)
            else:
                nats.kill()
                if not rolled_back:
                    roll_back(nats, tmp_path / "copy", deployment)
                    rolled_back = True
                else:
                    nats.start()
        assert writer.wait(timeout=900) == 0
        assert count(deployment) == 4 * orders
        eventually(lambda: filled(nats, 4 * orders), 120)
        assert [process.poll() for process in relays] == [None, None]
        assert_each_event_once_in_order(deployment, messages(nats.url))


def roll_back(nats: nats_server.Server, copy: Path, deployment: Deployment) -> None:
    """The store of the server, which is down, goes back to what it is now, after more has come in."""
    shutil.copytree(nats.store, copy)
    nats.start()
    seen = len(messages(nats.url))
    eventually(lambda: filled(nats, min(seen + 20, count(deployment))), 60)
    nats.kill()
    nats.roll_back(copy)
    nats.start()


def test_a_relay_waits_while_nats_or_the_log_is_away_and_goes_on_by_itself(
    deployment: Deployment, tmp_path: Path
) -> None:
    nats = nats_server.Server(tmp_path / "nats")
    said = deployment.directory / "processes.log"
    with ExitStack() as stack:
        stack.callback(nats.kill)
        process = relay(deployment, nats, stack)
        deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=1))
        eventually(lambda: "gets no events, trying again" in said.read_text())
        nats.start()
        eventually(lambda: filled(nats, 4))
        nats.stop()
        deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=1))
        nats.start()
        eventually(lambda: filled(nats, 8))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert "8 events sent" in said.read_text()


def test_the_example_counts_each_order_once_through_kills(deployment: Deployment, tmp_path: Path) -> None:
    nats, file = nats_server.Server(tmp_path / "nats"), tmp_path / "orders.sqlite3"
    command = [sys.executable, "examples/consume_events.py", str(file), "--url", nats.url]
    with ExitStack() as stack:
        nats.start()
        stack.callback(nats.kill)
        for _ in range(2):
            deployment.manage("shell", "-v0", "-c", APPENDS.format(orders=20))
            deployment.manage("relay_events", nats.url, "--once")
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT))
            eventually(lambda: counted(file) > 0)
            process.kill()
        subprocess.run([*command, "--once"], cwd=ROOT, check=True, timeout=30)
        assert counted(file) == 40
        with closing(sqlite3.connect(file)) as rows:
            last = deployment.log()[-1]
            assert rows.execute("SELECT position, event_id FROM place").fetchall() == [
                (last.position, str(last.event_id))
            ]
            rows.execute("UPDATE place SET event_id = 'of another log'")
            rows.commit()
        result = subprocess.run([*command, "--once"], cwd=ROOT, check=False, timeout=30, capture_output=True, text=True)
        assert (result.returncode, "The stream has other events" in result.stderr) == (1, True)


def counted(file: Path) -> int:
    """How many orders the example has counted."""
    with closing(sqlite3.connect(file)) as rows, suppress(sqlite3.OperationalError):
        return int(rows.execute("SELECT coalesce(sum(orders), 0) FROM customer").fetchone()[0])
    return 0
