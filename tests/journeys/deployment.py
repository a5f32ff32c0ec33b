"""A real deployment in a directory of its own: its databases, its server and its workers as processes."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from apps.eventlog.events import FIELDS, RecordedEvent
from tests.support import engine, warm
from tools import postgres

ROOT = Path(__file__).resolve().parents[2]
STAFF_TOKEN = (
    "from django.contrib.auth import get_user_model; from knox.models import AuthToken;"
    "user = get_user_model().objects.create_superuser('admin', password='admin');"
    "print(AuthToken.objects.create(user)[1])"
)


ROWS = (
    "import json; from tests.support.fold import projected, folded;"
    "print(json.dumps([folded(), projected()], default=str, sort_keys=True))"
)


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Poll until the condition holds; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Deployment:
    """`server()`, `manage()` and `worker()` run against the databases of this deployment, with the code in `root`."""

    def __init__(self, directory: Path, urls: dict[str, str], root: Path = ROOT) -> None:
        self.directory, self.root = directory, root
        self.environment = os.environ | urls | {"DATA_DIR": str(directory), "FAILPOINT": ""}
        self.token = ""

    @classmethod
    def make(cls, directory: Path, template: "Deployment | None" = None) -> "Deployment":
        """A migrated deployment with a staff login; with a template a copy of it, which is quicker."""
        urls: dict[str, str] = {}
        if engine.POSTGRES:
            prefix = _prefix(directory)
            if template is None:
                urls = postgres.databases(engine.URL, prefix)
            else:
                urls = {name: url.replace(template.prefix, prefix) for name, url in template.urls().items()}
                urls = engine.through_pooler(urls)  # and not those of the template, which must have no session
                with psycopg.connect(engine.URL, autocommit=True) as connection:
                    for alias in postgres.aliases():
                        copy = f'CREATE DATABASE "{prefix}_{alias}" TEMPLATE "{template.prefix}_{alias}"'
                        connection.execute(copy)  # type: ignore[arg-type]
        elif template is not None:
            shutil.copytree(template.directory, directory, dirs_exist_ok=True)
        deployment = cls(directory, urls)
        if template is None:
            deployment.manage("migrate", "-v0")
            deployment.token = deployment.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
        else:
            deployment.token = template.token
        return deployment

    @property
    def prefix(self) -> str:
        return _prefix(self.directory)

    def query(self, alias: str, sql: str) -> list[tuple[Any, ...]]:
        """What one of its databases answers, from outside; each query commits."""
        if engine.POSTGRES:
            with psycopg.connect(engine.URL, dbname=f"{self.prefix}_{alias}") as connection:
                return connection.execute(sql).fetchall()  # type: ignore[arg-type]
        with closing(sqlite3.connect(self.directory / f"{alias}.sqlite3", isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, alias: str, statement: str) -> None:
        """Run a statement in one of its databases, from outside."""
        if engine.POSTGRES:
            with psycopg.connect(engine.URL, dbname=f"{self.prefix}_{alias}") as connection:
                connection.execute(statement)  # type: ignore[arg-type]
            return
        with closing(sqlite3.connect(self.directory / f"{alias}.sqlite3", isolation_level=None)) as connection:
            connection.execute(statement)

    def urls(self) -> dict[str, str]:
        return {name: url for name, url in self.environment.items() if name.endswith("_DATABASE_URL")}

    def manage(self, *arguments: str, check: bool = True, seconds: float = 60, **environment: str) -> str:
        """Run a management command; returns what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        result = warm.run(command, cwd=self.root, env=self.environment | environment, timeout=seconds)
        assert result.returncode == 0 or not check, result.stderr
        return result.stdout

    def log(self) -> list[RecordedEvent]:
        """The events of its log, as an operator lists them."""
        lines = self.manage("replay_events", "--list", "--format", "json").splitlines()
        documents = [msgspec.json.decode(line) for line in lines]
        for document in documents:
            document["recorded_at"] = datetime.fromisoformat(document["recorded_at"])
            document.update({name: msgspec.Raw(msgspec.json.encode(document[name])) for name in ("data", "metadata")})
        return [RecordedEvent(*[document[name] for name in FIELDS]) for document in documents]

    def rows(self) -> tuple[Any, Any]:
        """The plain fold of its log, and its read models, as JSON values."""
        fold, live = json.loads(self.manage("shell", "-v0", "-c", ROWS).splitlines()[-1])
        return fold, live

    @contextmanager
    def process(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process of this deployment, killed at the end if it is still there."""
        with (self.directory / "processes.log").open("ab") as log:
            process = warm.Popen(
                [sys.executable, *arguments], cwd=self.root, env=self.environment | environment, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)

    @contextmanager
    def server(self, *options: str, port: int = 0, **environment: str) -> Iterator["Server"]:
        """The shipped server on a port of its own, answering."""
        port = port or free_port()
        arguments = ("-m", "uvicorn", "config.asgi:application", "--port", str(port), "--lifespan", "off")
        arguments += ("--timeout-graceful-shutdown", "2", "--no-proxy-headers", "--no-server-header", *options)
        with self.process(*arguments, **environment) as process:
            server = Server(process, port, self.token)
            eventually(server.answers)
            yield server

    @contextmanager
    def worker(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.process("manage.py", "run_projectors", **environment) as process:
            yield process


def _prefix(directory: Path) -> str:
    return f"journey_{engine.WORKER}_{directory.name}".lower()


class Server:
    """A running server and a client with the staff token."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str) -> None:
        self.process, self.port, self.token = process, port, token
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server has ended"
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def register(self, number: int) -> httpx.Response:
        return self.client.post("/api/users/", json={"email": f"u{number}@example.org", "name": f"User {number}"})

    def names(self) -> list[str]:
        return sorted(user["name"] for user in self.client.get("/api/users/").json()["results"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
