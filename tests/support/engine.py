"""Which engine a test run is on: SQLite, or with DB=postgres a PostgreSQL that the run brings along.

With DB=pooler it is a PostgreSQL behind a PgBouncer that pools transactions.

A pytest plugin (`-p tests.support.engine` in pyproject.toml): it sets the environment before anything reads the
settings. An import alone changes nothing.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tools import postgres

POOLED = os.environ.get("DB") == "pooler"
POSTGRES = POOLED or os.environ.get("DB") == "postgres"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
DIRECTORY = Path()  # of this process, removed at its end
URL = ""  # of the PostgreSQL server itself
SERVER: postgres.Server | None = None  # the one that this process has started
POOLER: Any = None  # the same, of tests/support/pooler.py, with DB=pooler
SESSIONS = 20  # for each database: tests have many threads and processes at once


@pytest.hookimpl(wrapper=True, tryfirst=True)  # a wrapper, because pytest-django reads the settings in its own
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    global DIRECTORY  # noqa: PLW0603
    DIRECTORY = Path(tempfile.mkdtemp(prefix="headrace-tests-"))
    atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
    set_environment(DIRECTORY)
    if POSTGRES and runs_tests(early_config):
        start_postgres()
    return (yield)


def set_environment(directory: Path) -> None:
    """Give this process, and those that it starts, settings for tests and no database but those in `directory`."""
    urls = ("_DATABASE_URL", "_REPLICA_URL")
    for name in [name for name in os.environ if name.endswith(urls) or name == "SERVE"]:
        del os.environ[name]
    os.environ.update(
        {"SECRET_KEY": "only-for-these-tests-" * 3, "DEBUG": "off", "PROJECTIONS": "inline", "FAILPOINT": ""}
    )
    os.environ.update({"ALLOWED_HOSTS": "*", "SECURE_COOKIES": "off", "DATA_DIR": str(directory), "DEMO": "1"})


def runs_tests(config: pytest.Config) -> bool:
    """Does this process run tests? If not, it hands them out to the processes of `-n`."""
    given = config.known_args_namespace
    hands_out = getattr(given, "numprocesses", None) or getattr(given, "tx", None)
    return bool(WORKER) or given.usepdb or not hands_out


def start_postgres() -> None:
    global URL, SERVER  # noqa: PLW0603
    URL = os.environ.get("POSTGRES_URL", "")
    if not URL:
        SERVER = postgres.Server(DIRECTORY / "postgres")
        URL = SERVER.start("fsync = off\nwal_recycle = off\nmax_prepared_transactions = 4\n")
        atexit.register(SERVER.remove)
    if POOLED:
        start_pooler()
    os.environ.update(through_pooler(postgres.databases(URL)))


def start_pooler() -> None:
    global POOLER  # noqa: PLW0603
    from tests.support import pooler

    stack = ExitStack()
    POOLER = stack.enter_context(pooler.pooler(SESSIONS, patience=5, rest=3))  # many databases come and go
    atexit.register(stack.close)


def through_pooler(urls: dict[str, str]) -> dict[str, str]:
    """URLs that lead to PostgreSQL itself; with DB=pooler those that lead to the same databases through PgBouncer."""
    return POOLER.urls(urls) if POOLER else urls
