"""Everything behind a PgBouncer that pools transactions, and nothing left in its sessions for others."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.journeys.deployment import Deployment, eventually
from tests.journeys.load import Load
from tests.journeys.sse import listening
from tests.journeys.test_roles import order
from tests.journeys.test_workers import FORGOTTEN, all_is_projected
from tests.support.checker import History
from tests.support.pooler import Pooler, pooler

pytestmark = [pytest.mark.postgres, pytest.mark.direct]

SIZE = 2  # sessions for each database: a replay has one transaction open beside its work
# What a session of the pool remembers. PgBouncer itself keeps some settings as each client has them.
LEFT = """
SELECT 'setting ' || name || ' = ' || setting FROM pg_settings WHERE source = 'session'
  AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'IntervalStyle', 'TimeZone',
                   'standard_conforming_strings')
UNION ALL SELECT 'lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'prepared ' || statement FROM pg_prepared_statements WHERE from_sql OR NOT from_sql
UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() channel
UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
UNION ALL SELECT 'temporary tables' WHERE pg_my_temp_schema() <> 0
"""


def left(pool: Pooler, deployment: Deployment, direct: dict[str, str]) -> list[str]:
    """What is left in the sessions of each database, all of which are held at once."""
    found = []
    for url in direct.values():
        with ExitStack() as stack:
            for _ in range(SIZE):
                where = pool.url(url, "")
                connection = stack.enter_context(psycopg.connect(where, prepare_threshold=None))
                found += [f"{url.rpartition('/')[2]}: {row[0]}" for row in connection.execute(LEFT.encode()).fetchall()]
    return found


@pytest.fixture
def pool() -> Iterator[Pooler]:
    with pooler(SIZE) as started:
        yield started


@pytest.fixture
def direct(deployment: Deployment) -> dict[str, str]:
    """The URLs that lead to PostgreSQL itself."""
    return deployment.urls()


@pytest.fixture
def pooled(deployment: Deployment, direct: dict[str, str], pool: Pooler) -> Deployment:
    deployment.environment |= pool.urls(direct)
    return deployment


def test_the_api_works_and_leaves_nothing(pooled: Deployment, direct: dict[str, str], pool: Pooler) -> None:
    with pooled.server() as server, listening(server) as stream:
        client, user = server.client, server.register(1).json()["id"]
        first = client.post("/api/orders/", json=order(user), headers={"Idempotency-Key": "k"}).json()
        assert client.post("/api/orders/", json=order(user), headers={"Idempotency-Key": "k"}).json() == first
        second = client.post("/api/orders/", json=order(user)).json()["id"]
        for path, body in (
            (f"orders/{second}/pay/", {"payment_reference": "p"}),
            (f"users/{user}/change-email/", {"email": "x@example.org"}),
            (f"users/{user}/deactivate/", {"reason": "left"}),
        ):
            assert client.post(f"/api/{path}", json=body).status_code == 202
        eventually(lambda: client.get(f"/api/orders/{first['id']}/").json()["status"] == "cancelled")
        assert client.post(f"/api/users/{user}/erase/", json={"reason": "asked"}).status_code == 202
        eventually(lambda: client.get(f"/api/users/{user}/").json()["name"] == "[erased]")
        assert stream.positions(8) == list(range(1, 9))
        assert client.get("/readyz").status_code == 200
        assert client.get(f"/api/users/{user}/?version=1").status_code == 200
    assert left(pool, pooled, direct) == []


OPERATING = """
from django.core.management import call_command
call_command("replay_events", "--verify")
call_command("seal_events", "--no-progress")
call_command("verify_log", "--no-progress")
call_command("export_events", "{folder}/log.gz", "--no-progress")
call_command("rebuild_reservations", "--no-progress")
call_command("migrate", "-v0")
"""


def test_what_an_operator_runs_works_and_leaves_nothing(
    pooled: Deployment, direct: dict[str, str], pool: Pooler, tmp_path: Path
) -> None:
    pooled.manage("shell", "-v0", "-c", FORGOTTEN)
    with pooled.worker():
        eventually(lambda: all_is_projected(pooled), 60)
    pooled.manage("replay_events", "--workers", "2")
    said = pooled.manage("shell", "-v0", "-c", OPERATING.format(folder=tmp_path))
    assert "as the log says" in said
    assert "0 events are not sealed yet" in said
    pooled.manage("backup", str(tmp_path / "kept"))
    assert left(pool, pooled, direct) == []
    fold, live = pooled.rows()
    assert live == fold


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_backup_past_the_pooler_is_whole(
    pooled: Deployment, direct: dict[str, str], pool: Pooler, template: Deployment, tmp_path: Path
) -> None:
    pooled.manage("shell", "-v0", "-c", FORGOTTEN)
    pooled.manage("backup", str(tmp_path / "kept"))
    assert left(pool, pooled, direct) == []
    empty = Deployment.make(tmp_path / "restored", template)
    empty.manage("restore", str(tmp_path / "kept"), "--replace", "--verify", seconds=120)
    assert empty.log() == pooled.log()
    with pooled.process("manage.py", "restore", str(tmp_path / "kept"), "--replace") as refused:
        assert refused.wait(timeout=60) == 1
    assert "stop the pooler too" in (pooled.directory / "processes.log").read_text()


SHOWN = """
from django.db import connections, transaction
def show(using):
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        return cursor.fetchone()
with transaction.atomic(using="users"):
    inside = show("users")
print(show("users"), inside, show("orders"))
"""


def test_limits_of_the_role_hold_for_those_who_serve_and_not_for_who_may_take_long(
    pooled: Deployment, direct: dict[str, str], pool: Pooler
) -> None:
    for alias in ("users", "orders"):
        for limit in ("statement_timeout = '15s'", "lock_timeout = '10s'"):
            pooled.execute(alias, f"ALTER DATABASE {pooled.prefix}_{alias} SET {limit}")
    serving = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    with pooled.process("-c", f"import django; django.setup()\n{SHOWN}", **serving) as process:
        process.wait(timeout=30)
    said = (pooled.directory / "processes.log").read_text().splitlines()[-1]
    assert said == " ".join(["('15s', '10s')"] * 3)
    assert pooled.manage("shell", "-v0", "-c", SHOWN).strip() == " ".join(["('0', '0')"] * 3)
    assert left(pool, pooled, direct) == []


@pytest.mark.parametrize("replays", [1, pytest.param(10, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_two_servers_share_the_sessions_and_find_nothing_of_each_other(
    pooled: Deployment, direct: dict[str, str], pool: Pooler, replays: int
) -> None:
    """A worker, a replay that lifts every limit, and two servers whose clients do not rest."""
    found: list[str] = []
    with (
        pooled.server(COMMANDS_PER_MINUTE="100000", PROJECTIONS="worker") as one,
        pooled.server(COMMANDS_PER_MINUTE="100000", PROJECTIONS="worker") as two,
        pooled.worker(PROJECTIONS="worker"),
    ):
        loads = [Load(server.url, server.token, History(), seed=seed) for seed, server in enumerate((one, two))]
        with loads[0].running(2), loads[1].running(2):
            for _ in range(replays):
                pooled.manage("replay_events", "--workers", "2", PROJECTIONS="worker")
                found += left(pool, pooled, direct)
        for load in loads:
            load.settle(20)
            assert load.broken == []
            assert load.statuses[201] > 0
        eventually(lambda: all_is_projected(pooled), 60)
    assert found == []
    fold, live = pooled.rows()
    assert live == fold


@pytest.mark.parametrize("pooled_first", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_lock_that_a_transaction_holds_and_one_of_a_session_keep_each_other_away(
    pooled: Deployment, direct: dict[str, str], pooled_first: bool
) -> None:
    holder, other = (pooled.urls(), direct) if pooled_first else (direct, pooled.urls())
    stopped = holder | {"FAILPOINT": "switching:SIGSTOP"}
    with pooled.process("manage.py", "replay_events", "--projector", "UserProjector", **stopped) as first:
        status = Path(f"/proc/{first.pid}/status")
        eventually(lambda: "T (stopped)" in status.read_text(), 60)
        assert "is being rebuilt by another process" in refusal(pooled, other)
    eventually(lambda: refusal(pooled, other) == "", 60)  # the lock ends with its process


def test_a_replay_says_that_the_pool_is_too_small(deployment: Deployment, direct: dict[str, str]) -> None:
    with pooler(1, patience=2) as small:
        said = refusal(deployment, small.urls(direct))
    assert "it needs 2 or more for this database (default_pool_size)" in said


def refusal(deployment: Deployment, urls: dict[str, str]) -> str:
    """What a replay says that may not run; "" if it has run."""
    log = deployment.directory / "processes.log"
    before = len(log.read_text()) if log.exists() else 0
    with deployment.process("manage.py", "replay_events", "--projector", "UserProjector", **urls) as process:
        code = process.wait(timeout=60)
    return log.read_text()[before:] if code else ""


def test_the_guard_of_this_file_finds_what_a_session_keeps(
    deployment: Deployment, direct: dict[str, str], pool: Pooler
) -> None:
    url = direct["USERS_DATABASE_URL"]
    with psycopg.connect(pool.url(url, ""), autocommit=True, prepare_threshold=None) as careless:
        for statement in ("SET search_path = ''", "SELECT pg_advisory_lock(1)", "PREPARE p AS SELECT 1", "LISTEN c"):
            careless.execute(statement.encode())
    found = " ".join(left(pool, deployment, {"USERS": url}))
    assert all(word in found for word in ("search_path", "lock", "prepared", "channel")), found
