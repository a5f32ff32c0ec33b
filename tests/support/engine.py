"""Which engine a test run is on: SQLite, or with DB=postgres a PostgreSQL that it brings along.

Loaded by pytest before anything reads the settings (`-p tests.support.engine` in pyproject.toml).
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tools import postgres

POSTGRES = os.environ.get("DB") == "postgres"
DIRECTORY = Path(tempfile.mkdtemp(prefix="headrace-tests-"))
URL = ""
SERVER: postgres.Server | None = None  # the one it has brought along

for name in [name for name in os.environ if name.endswith("_DATABASE_URL")]:
    del os.environ[name]
os.environ.update({"SECRET_KEY": "only-for-tests", "DEBUG": "off", "PROJECTIONS": "inline", "FAILPOINT": ""})
os.environ.update({"ALLOWED_HOSTS": "*", "SECURE_COOKIES": "off", "DATA_DIR": str(DIRECTORY), "DEMO": "1"})
atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
RUNS_TESTS = WORKER or not any(argument.startswith("-n") for argument in sys.argv)  # else it only hands them out

if POSTGRES and RUNS_TESTS:
    URL = os.environ.get("POSTGRES_URL", "")
    if not URL:
        SERVER = postgres.Server(DIRECTORY / "postgres")
        URL = SERVER.start("fsync = off\nwal_recycle = off\n")
        atexit.register(SERVER.remove)
    os.environ.update(postgres.databases(URL))
