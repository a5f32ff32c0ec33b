"""A log moves from SQLite to PostgreSQL and back, by the steps of docs/how-to/move-a-log.md."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.deployment import Deployment
from tests.support.year import Year

pytestmark = pytest.mark.direct  # it names its databases itself

# Three people with logins, of whom one is erased; and an address that was left.
LIVE = """
from uuid import UUID
from apps.eventlog.dispatch import dispatch
from apps.users.write import logins
from apps.users.write.commands import ChangeEmail, EraseUser, RegisterUser
for number in (1, 2, 3):
    with logins.opening(UUID(int=number), f"horse battery {number}"):
        dispatch(RegisterUser(UUID(int=number), f"live{number}@example.org", f"Live {number}"))
dispatch(ChangeEmail(UUID(int=2), "Zoe@Bucher.example"))
dispatch(EraseUser(UUID(int=3), "asked for"))
"""
# What a deployment knows and promises beside its log and its rows.
STATE = """
import json
from uuid import uuid4
from apps.eventlog import reservations
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Erasure, Reservation
from apps.users.write import logins
from apps.users.write.aggregates import EMAIL
from apps.users.write.commands import RegisterUser
from tests.support.fold import folded, projected
rows = [projected(), folded()]
def logs_in(email, password):
    return logins.authenticate(email, password, "192.0.2.1") is not None
def is_free(email):
    try:
        dispatch(RegisterUser(uuid4(), email, "Thief"))
    except reservations.Reserved:
        return False
    return True
held = sorted(Reservation.objects.values_list("scope", "key", "stream"))
print(json.dumps({
    "rows": rows,
    "held": held,
    "erased": sorted(map(str, Erasure.objects.values_list("subject", flat=True))),
    "keys": sorted((str(key.subject), key.wrapped is None) for key in PersonalKey.objects.all()),
    "log in": [logs_in(f"{email}", f"horse battery {n}") for n, email in
               [(1, "LIVE1@example.org"), (2, "ZOE@bucher.EXAMPLE"), (3, "live3@example.org")]],
    "free": [is_free(email) for email in ("live1@EXAMPLE.org", "zoe@bucher.example.")],
}, default=str, sort_keys=True))
"""


def on_sqlite(directory: Path) -> Deployment:
    deployment = Deployment(directory, {})
    deployment.environment = {
        name: value for name, value in deployment.environment.items() if not name.endswith("_DATABASE_URL")
    }
    return deployment


def move(there: Deployment, here: Deployment) -> bytes:
    """Returns the log of the deployment that is moved, as it was exported."""
    keys, logins, log = (str(there.directory / name) for name in ("keys.json", "logins.json", "log.jsonl.gz"))
    there.manage("dumpdata", "keys.PersonalKey", "--database", "keys", "-o", keys)
    there.manage("dumpdata", "auth.User", "-o", logins)
    there.manage("export_events", log, seconds=600)
    here.manage("loaddata", keys, "--database", "keys")
    here.manage("loaddata", logins)
    here.manage("import_events", log, seconds=600)
    here.manage("verify_keys", seconds=600)
    return gzip.decompress(Path(log).read_bytes())


def state(deployment: Deployment) -> Any:
    return json.loads(deployment.manage("shell", "-v0", "-c", STATE, seconds=600).splitlines()[-1])


@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize("events", [300, pytest.param(10_000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])])
def test_a_year_moves_to_postgresql_and_back_with_everything_in_it(
    deployment: Deployment, tmp_path: Path, events: int
) -> None:
    first, last = on_sqlite(tmp_path / "first"), Deployment(tmp_path / "last", {})
    first.manage("migrate", "-v0")
    shutil.copytree(first.directory, last.directory)
    last.environment = first.environment | {"DATA_DIR": str(last.directory)}
    year = tmp_path / "year.jsonl"
    year.write_text("".join(json.dumps(line) + "\n" for line in Year(events).lines()))
    assert f"{events} events imported" in first.manage("import_events", str(year), seconds=600)
    first.manage("shell", "-v0", "-c", LIVE)
    known = state(first)
    rows, fold = known["rows"]
    assert rows == fold
    assert (known["log in"], known["free"]) == ([True, True, False], [False, False])
    log = move(first, deployment)
    assert log.count(b"\n") == events + 5
    assert state(deployment) == known
    assert move(deployment, last) == log
    assert state(last) == known
    again = last.directory / "again.jsonl"
    last.manage("export_events", str(again), seconds=600)
    assert again.read_bytes() == log
    if events > 1000:
        for each in (deployment, last):
            each.manage("replay_events", "--verify", seconds=600)
