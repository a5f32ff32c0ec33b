"""Servers to measure: a migrated deployment in a temporary directory, and processes that serve it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tools import postgres

ROOT = Path(__file__).resolve().parent.parent
UVICORN: tuple[str, ...] = ("-m", "uvicorn", "--lifespan", "off", "--timeout-graceful-shutdown", "2", "--no-access-log")
UVICORN += ("--no-proxy-headers", "--no-server-header", "--log-level", "warning")


@contextmanager
def deployment(engine: str) -> Iterator[None]:
    """The environment of a deployment, migrated, with Django set up in this process."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "bench" * 12, "DATA_DIR": str(directory)}
    os.environ |= {"ALLOWED_HOSTS": "*", "DEBUG": "off", "SECURE_COOKIES": "off"}
    server = postgres.Server(directory / "postgres")
    os.environ["EVENTSTREAM_DATABASE_URL"] = f"sqlite:///{directory}/eventstream.sqlite3"
    try:
        if engine == "postgres":
            url = server.start()
            os.environ |= postgres.databases(url)
            os.environ["EVENTSTREAM_DATABASE_URL"] = postgres.databases(url, "eventstream")["DEFAULT_DATABASE_URL"]
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        yield
        connections.close_all()
    finally:
        if engine == "postgres":
            server.remove()
        shutil.rmtree(directory)


@contextmanager
def process(*arguments: str, port: int, quiet: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that answers on a port; stopped at the end of the block."""
    environment = os.environ | {"PGAPPNAME": "server"}
    output = subprocess.DEVNULL if quiet else None
    server = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(arguments)} does not serve")
            time.sleep(0.1)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()


def shipped(port: int, processes: int = 1) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The server as `make run` starts it, or the same with several processes."""
    several = ("--workers", str(processes)) if processes > 1 else ()
    return process(*UVICORN, *several, "config.asgi:application", "--port", str(port), port=port)


def tokens(number: int) -> list[str]:
    """API tokens of one staff login."""
    from django.contrib.auth import get_user_model
    from knox.models import AuthToken

    login, _ = get_user_model().objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    return [AuthToken.objects.create(login)[1] for _ in range(number)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory(pid: int) -> int:
    """Resident kB of a process."""
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout)


def database_connections() -> int:
    """How many connections the servers have to PostgreSQL; 0 on SQLite, which has no server."""
    from django.db import connections

    if connections["default"].vendor == "sqlite":
        return 0
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'server'")
        return int(cursor.fetchone()[0])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
