"""A PgBouncer of one's own in front of the PostgreSQL of the tests."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import pytest

from tests.support import engine

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
query_wait_timeout = {patience}
server_idle_timeout = {rest}
"""


class Pooler(NamedTuple):
    """A PgBouncer that runs."""

    port: int

    def url(self, url: str, query: str = "?pool=transaction") -> str:
        """The URL of a database through the pooler, for the same user."""
        parts = urlsplit(url)
        user = parts.username or "postgres"
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}")) + query

    def urls(self, urls: Mapping[str, str]) -> dict[str, str]:
        return {name: self.url(url) for name, url in urls.items()}


@contextmanager
def pooler(size: int = 5, patience: int = 60, rest: int = 600) -> Iterator[Pooler]:
    """PgBouncer with a number of sessions for each database. A client that waits `patience` seconds gets an error.

    A session that nobody has used for `rest` seconds is closed.
    It takes no options that begin a session.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer: apt-get install pgbouncer")
    folder, listen = Path(tempfile.mkdtemp(prefix="headrace-pooler-")), _free_port()
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    _configure(folder, user, listen=listen, size=size, patience=patience, rest=rest)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-q", str(folder / "pgbouncer.ini")], user=user, stdout=log, stderr=log)
    try:
        _wait(listen, process, folder / "log")
        yield Pooler(listen)
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder)


def _configure(folder: Path, user: str | None, **values: int) -> None:
    server = urlsplit(engine.URL)
    host = unquote(server.netloc.rpartition("@")[2].partition(":")[0])
    configuration = CONFIGURATION.format(host=host, port=server.port or 5432, folder=folder, **values)
    (folder / "pgbouncer.ini").write_text(configuration)
    (folder / "users").write_text('"postgres" ""\n')
    for path in (folder, *folder.iterdir()) if user else ():
        shutil.chown(path, user)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, f"pgbouncer does not start: {log.read_text()}"
        assert time.monotonic() < deadline, f"pgbouncer does not answer: {log.read_text()}"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
