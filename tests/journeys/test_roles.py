"""The whole journey under the roles of `print_roles`, which can do what they need and nothing else."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.eventlog.backup import manifest
from apps.eventlog.backup.manifest import Manifest
from apps.eventlog.log import roles
from tests.journeys.deployment import ROOT, STAFF_TOKEN, Deployment, eventually
from tests.journeys.intrusions import (
    ANYWHERE,
    AS_THE_SEALER,
    AT_THE_LOG,
    BY_THE_APPLICATION,
    WITHOUT_EFFECT,
    Intrusion,
    state,
)
from tests.support import engine
from tools import postgres

pytestmark = [pytest.mark.postgres, pytest.mark.direct]

PREFIX = f"by_roles{engine.WORKER}"  # beside whatever a server of one's own holds
ACCEPTED = "00000"
OWNER, APPLICATION, SEALER = f"{PREFIX}_eventlog_owner", f"{PREFIX}_eventlog", f"{PREFIX}_sealer"


def url(alias: str, role: str) -> str:
    parts = urlsplit(engine.URL)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}@{host}", path=f"/{PREFIX}_{alias}"))


def make(deployment: Deployment) -> None:
    """Run the script of print_roles, as an operator would."""
    run(deployment.manage("print_roles", "--prefix", PREFIX))


def run(script: str) -> None:
    command = [str(postgres.binaries() / "psql"), "-X", "-q", "-d", engine.URL]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment under the roles, with an event that is sealed and one that is not."""
    urls = {f"{alias.upper()}_DATABASE_URL": url(alias, f"{PREFIX}_{alias}") for alias in settings.DATABASES}
    deployment = Deployment(tmp_path_factory.mktemp("roles"), urls)
    try:
        make(deployment)
        deployment.manage("migrate", "-v0", EVENTLOG_DATABASE_URL=url("eventlog", OWNER))
        make(deployment)
        deployment.token = deployment.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
        with deployment.server() as server:
            server.register(0)
            deployment.manage("seal_events", EVENTLOG_DATABASE_URL=url("eventlog", SEALER))
            server.register(1)
        yield deployment
    finally:
        with psycopg.connect(engine.URL, autocommit=True) as superuser:
            for alias in settings.DATABASES:
                superuser.execute(f"DROP DATABASE IF EXISTS {PREFIX}_{alias} WITH (FORCE)")  # type: ignore[arg-type]
            for role in (*(f"{PREFIX}_{alias}" for alias in settings.DATABASES), OWNER, SEALER):
                superuser.execute(f"DROP ROLE IF EXISTS {role}")  # type: ignore[arg-type]


def order(user: str, currency: str = "EUR") -> dict[str, Any]:
    line = {"sku": "A", "quantity": 1, "unit_price": "2.00"}
    return {"customer_id": user, "currency": currency, "lines": [line]}


def test_the_whole_way_goes_under_least_privilege(deployed: Deployment) -> None:
    with deployed.server() as server:
        client, user = server.client, server.register(2).json()["id"]
        key = {"Idempotency-Key": "k"}
        first = client.post("/api/orders/", json=order(user), headers=key).json()
        assert client.post("/api/orders/", json=order(user), headers=key).json() == first
        second = client.post("/api/orders/", json=order(user)).json()["id"]
        for path, body in (
            (f"orders/{second}/pay/", {"payment_reference": "p"}),
            (f"users/{user}/change-email/", {"email": "x@example.org"}),
            (f"users/{user}/deactivate/", {"reason": "left"}),
        ):
            assert client.post(f"/api/{path}", json=body).status_code == 202
        eventually(lambda: client.get(f"/api/orders/{first['id']}/").json()["status"] == "cancelled")
        [row] = [row for row in client.get("/api/orders/summary/").json()["results"] if row["currency"] == "EUR"]
        assert row["revenue"] == "2.00"
        assert client.post(f"/api/users/{user}/erase/", json={"reason": "asked"}).status_code == 202
        eventually(lambda: client.get(f"/api/users/{user}/").json()["name"] == "[erased]")
        deployed.manage("replay_events")
        assert "as the log says" in deployed.manage("replay_events", "--verify")
        deployed.manage("seal_events", EVENTLOG_DATABASE_URL=url("eventlog", SEALER))
        assert "0 events are not sealed yet" in deployed.manage("verify_log")


def test_deploy_check_is_content_with_these_roles_and_names_what_is_amiss(deployed: Deployment) -> None:
    def said(**environment: str) -> str:
        return deployed.manage("deploy_check", check=False, **environment)

    rights = ("roles:", "grants:", "server: sessions")
    assert [line for line in said().splitlines() if line.startswith(rights)] == []
    assert "roles: eventlog is reached as its owner" in said(EVENTLOG_DATABASE_URL=url("eventlog", OWNER))
    assert "roles: orders is reached as postgres, a superuser" in said(ORDERS_DATABASE_URL=url("orders", "postgres"))
    assert "databases: orders has no table orders_c" in said(ORDERS_DATABASE_URL=url("users", f"{PREFIX}_users"))
    with psycopg.connect(engine.URL, dbname=f"{PREFIX}_eventlog", autocommit=True) as superuser:
        superuser.execute(f"REVOKE EXECUTE ON FUNCTION eventlog_append_events FROM {APPLICATION}")  # type: ignore[arg-type]
        superuser.execute(f"GRANT INSERT ON eventlog_event TO {APPLICATION}")  # type: ignore[arg-type]
        superuser.execute(f"GRANT CONNECT ON DATABASE {PREFIX}_orders TO {APPLICATION}")  # type: ignore[arg-type]
        superuser.execute(f"ALTER DATABASE {PREFIX}_eventlog RESET idle_in_transaction_session_timeout")  # type: ignore[arg-type]
    with psycopg.connect(engine.URL, dbname=f"{PREFIX}_orders", autocommit=True) as superuser:
        superuser.execute("ALTER TABLE orders_order OWNER TO postgres")
    try:
        told = said()
    finally:
        make(deployed)
        with psycopg.connect(engine.URL, dbname=f"{PREFIX}_orders", autocommit=True) as superuser:
            superuser.execute(f"ALTER TABLE orders_order OWNER TO {PREFIX}_orders")  # type: ignore[arg-type]
            superuser.execute(f"REVOKE CONNECT ON DATABASE {PREFIX}_orders FROM {APPLICATION}")  # type: ignore[arg-type]
    assert f"grants: {PREFIX}_orders may not read and write orders_order, 1 tables in all" in told
    assert f"grants: {APPLICATION} may not call eventlog_append_events, 1 rights in all" in told
    assert f"grants: {APPLICATION} has INSERT on eventlog_event" in told
    assert f"grants: {APPLICATION} may connect to {PREFIX}_orders, which is not its own" in told
    assert f"server: sessions at {PREFIX}_eventlog may stay idle in a transaction for ever" in told


def refusals(role: str, database: str, statements: list[Intrusion]) -> list[str]:
    """Try each statement as a role; says which were not refused as they should be, and what they changed."""
    faults = []
    names = {"owner": OWNER, "application": APPLICATION, "sealer": SEALER, "me": role, "database": f"{PREFIX}_eventlog"}
    with (
        psycopg.connect(url("eventlog", OWNER)) as owner,
        psycopg.connect(url("eventlog", SEALER)) as sealer,
        psycopg.connect(engine.URL, dbname=f"{PREFIX}_eventlog", autocommit=True) as superuser,
    ):
        names |= {"pid": str(owner.info.backend_pid), "sealer pid": str(sealer.info.backend_pid)}
        before = state(superuser)
        for intrusion in statements:
            statement, expected = intrusion if isinstance(intrusion, tuple) else (intrusion, "42501")
            for name, value in names.items():
                statement = statement.replace(f"<{name}>", value)
            met = attempt(url(database, role), statement)
            if (met or ACCEPTED) not in expected.split():
                faults.append(f"{statement}: {met or 'accepted'}")
            after = state(superuser)
            faults += [f"{statement}: changed {name}" for name in before if before[name] != after[name]]
            before = after
        for session in (owner, sealer):
            session.execute("SELECT 1")  # nobody has ended it
    return faults


def attempt(where: str, statement: str) -> str:
    """The SQLSTATE that a statement meets, each in a session of its own; "" if it is accepted."""
    with psycopg.connect(where, autocommit=True, options="-c statement_timeout=5s") as connection:
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except psycopg.Error as error:
            return error.sqlstate or str(error)
    return ""


@pytest.mark.parametrize(
    ("role", "database", "statements"),
    [
        (APPLICATION, "eventlog", [*AT_THE_LOG, *ANYWHERE, *BY_THE_APPLICATION]),
        (SEALER, "eventlog", [*AT_THE_LOG, *ANYWHERE, *AS_THE_SEALER]),
        (f"{PREFIX}_orders", "orders", [*ANYWHERE, "SET ROLE <application>", "SET ROLE <sealer>"]),
    ],
    ids=["application", "sealer", "service"],  # the names have the number of the process in them
)
def test_a_role_cannot_forge_the_log_nor_become_its_owner(
    deployed: Deployment, role: str, database: str, statements: list[Intrusion]
) -> None:
    assert len(statements) > 50
    assert refusals(role, database, statements) == []
    assert "events are as they were sealed" in deployed.manage("verify_log")


@pytest.mark.parametrize("role", [APPLICATION, SEALER], ids=["application", "sealer"])
def test_what_postgresql_passes_over_has_no_effect(deployed: Deployment, role: str) -> None:
    assert refusals(role, "eventlog", [(statement, ACCEPTED) for statement in WITHOUT_EFFECT]) == []


def test_a_right_too_many_is_found_and_taken_back_by_the_script(deployed: Deployment) -> None:
    statements: list[Intrusion] = [
        "CREATE TEMP TABLE eventlog_event (LIKE public.eventlog_event)",
        "BEGIN; LOCK TABLE eventlog_seal IN ROW EXCLUSIVE MODE",
        "SELECT nextval('eventlog_event_position_seq')",
        "CREATE TABLE public.pg_locks (a int)",
        "SET ROLE <sealer>",
    ]
    with psycopg.connect(engine.URL, dbname=f"{PREFIX}_eventlog", autocommit=True) as superuser:
        superuser.execute(f"""
            GRANT TEMPORARY ON DATABASE {PREFIX}_eventlog TO PUBLIC; GRANT INSERT ON eventlog_seal TO {APPLICATION};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC
        """)  # type: ignore[arg-type]
        faults = refusals(APPLICATION, "eventlog", statements)
        superuser.execute("DROP TABLE IF EXISTS public.pg_locks")
    assert len([fault for fault in faults if fault.endswith("accepted")]) == 4
    make(deployed)
    assert refusals(APPLICATION, "eventlog", statements) == []


def test_a_role_reaches_no_other_database(deployed: Deployment) -> None:
    owners = {alias: {f"{PREFIX}_{alias}"} for alias in settings.DATABASES}
    owners["eventlog"] |= {OWNER, SEALER}
    for database, allowed in owners.items():
        for role in set().union(*owners.values()) - allowed:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(url(database, role))


def test_a_worker_that_may_not_seal_says_so_once_and_projects(deployed: Deployment) -> None:
    """Beside it the sealer's role seals."""
    log = deployed.directory / "processes.log"
    said = "This worker seals nothing: the role of this process may not seal"
    with deployed.server(PROJECTIONS="worker") as server, deployed.worker():
        began = log.stat().st_size
        for number in (11, 12, 13):
            assert server.register(number).status_code == 201
            eventually(lambda number=number: f"User {number}" in server.names())
        eventually(lambda: said in log.read_text()[began:])
        command = [sys.executable, "manage.py", "seal_events"]
        refused = subprocess.run(
            command, cwd=ROOT, env=deployed.environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
        assert "may not seal" in refused.stderr
        with deployed.process("manage.py", "seal_events", "--follow", EVENTLOG_DATABASE_URL=url("eventlog", SEALER)):
            eventually(lambda: "0 events are not sealed yet" in deployed.manage("verify_log"))
        assert log.read_text()[began:].count(said) == 1


def test_no_role_and_no_superuser_may_leave_a_transaction_open(deployed: Deployment) -> None:
    """Nor may a session that says nothing itself, such as psql; PostgreSQL 17 also limits one that is busy."""
    superuser = urlsplit(engine.URL).username
    for alias in settings.DATABASES:
        for role in {f"{PREFIX}_{alias}", superuser, *((OWNER, SEALER) if alias == "eventlog" else ())}:
            with psycopg.connect(url(alias, str(role))) as session:
                assert session.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("30s",)
                if alias == "eventlog" and session.info.server_version >= 170000:
                    assert session.execute("SHOW transaction_timeout").fetchone() == ("30s",)


LIMITED = """
SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('synchronous_commit')
"""


def test_for_a_pooler_the_roles_have_the_limits_and_keep_those_that_somebody_chose(deployed: Deployment) -> None:
    users, orders = f"{PREFIX}_users", f"{PREFIX}_orders"
    with psycopg.connect(engine.URL, autocommit=True) as superuser:
        superuser.execute(f"ALTER ROLE {users} SET statement_timeout = '60s'".encode())
        for _ in range(2):
            run(deployed.manage("print_roles", "--prefix", PREFIX, "--pool"))
        for database, role, limits in (
            ("users", users, ("1min", "10s", "off")),
            ("orders", orders, ("15s", "10s", "off")),
            ("eventlog", APPLICATION, ("15s", "10s", "on")),
            ("eventlog", SEALER, ("15s", "10s", "on")),
        ):
            with psycopg.connect(url(database, role)) as session:
                assert session.execute(LIMITED.encode()).fetchone() == limits
        for role in (*(f"{PREFIX}_{alias}" for alias in settings.DATABASES), OWNER, SEALER):
            superuser.execute(f"ALTER ROLE {role} RESET ALL".encode())
    make(deployed)


RIGHTS = """
SELECT relname::text, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT oid::regprocedure::text, proacl::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'public', nspacl::text FROM pg_namespace WHERE nspname = 'public' ORDER BY 1
"""
OPEN_TO_ALL = """
SELECT proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('nobody_yet', oid, 'EXECUTE')
"""


def test_the_roles_that_serve_back_up_and_the_owner_restores(deployed: Deployment) -> None:
    folder, as_owner = str(deployed.directory / "kept"), {"EVENTLOG_DATABASE_URL": url("eventlog", OWNER)}
    with psycopg.connect(engine.URL, dbname=f"{PREFIX}_eventlog", autocommit=True) as superuser:
        rights = superuser.execute(RIGHTS).fetchall()
        before = state(superuser)
    deployed.manage("backup", folder)
    assert deployed.manage("restore", folder, "--replace", check=False).count("restored") == 0
    assert "restored" in deployed.manage("restore", folder, "--replace", "--verify", **as_owner)
    with psycopg.connect(engine.URL, dbname=f"{PREFIX}_eventlog", autocommit=True) as superuser:
        assert superuser.execute(RIGHTS).fetchall() == rights
        after = state(superuser)
        assert [before[name] for name in ("events", "seals", "erasures")] == [
            after[name] for name in ("events", "seals", "erasures")
        ]
    assert refusals(APPLICATION, "eventlog", [*AT_THE_LOG[:8], *BY_THE_APPLICATION]) == []
    with deployed.server() as server:
        assert server.register(40).status_code == 201


def test_on_a_server_without_these_roles_a_restore_opens_nothing_to_everybody(deployed: Deployment) -> None:
    """It has another owner, and `print_roles` gives the rights again."""
    folder, name = str(deployed.directory / "kept for another"), f"{PREFIX}_elsewhere"
    deployed.manage("backup", folder)
    document = Path(folder, "manifest.json")
    written = msgspec.json.decode(document.read_bytes(), type=Manifest)
    listed = [
        msgspec.structs.replace(each, roles=[f"{role}_gone" for role in each.roles]) for each in written.databases
    ]
    document.unlink()
    manifest.write(document.parent, msgspec.structs.replace(written, databases=listed).sealed())
    with psycopg.connect(engine.URL, autocommit=True) as superuser:
        superuser.execute("CREATE ROLE nobody_yet")
        urls = {}
        try:
            for alias in settings.DATABASES:
                superuser.execute(f"CREATE DATABASE {name}_{alias}")  # type: ignore[arg-type]
                parts = urlsplit(engine.URL)
                urls[f"{alias.upper()}_DATABASE_URL"] = urlunsplit(parts._replace(path=f"/{name}_{alias}"))
            printed = deployed.manage("restore", folder, "--verify", **urls)
            [told] = [line for line in printed.splitlines() if f"in {name}_eventlog are gone: run print_roles" in line]
            assert {f"{APPLICATION}_gone", f"{SEALER}_gone"} <= set(told.replace(",", "").split())
            with psycopg.connect(urls["EVENTLOG_DATABASE_URL"]) as session:
                assert session.execute(OPEN_TO_ALL).fetchall() == []
        finally:
            for alias in settings.DATABASES:
                superuser.execute(f"DROP DATABASE IF EXISTS {name}_{alias} WITH (FORCE)")  # type: ignore[arg-type]
            superuser.execute("DROP ROLE nobody_yet")


HOLDING = """
SELECT DISTINCT pid, usename FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid::bigint >> 16 = 18501
"""


def test_the_sealer_finds_and_ends_a_session_that_holds_the_log_back(deployed: Deployment) -> None:
    """The application's role can hold its own followers back; with a lock of the kind that an append takes, say."""
    with (
        psycopg.connect(url("eventlog", APPLICATION), autocommit=True) as hostile,
        psycopg.connect(url("eventlog", SEALER), autocommit=True) as sealer,
    ):
        hostile.execute("SET idle_in_transaction_session_timeout = 0")
        hostile.execute("SELECT pg_advisory_lock_shared(18501::bigint << 48)")
        assert sealer.execute("SELECT eventlog_safe_position()").fetchone() == (0,)
        assert sealer.execute(HOLDING).fetchall() == [(hostile.info.backend_pid, APPLICATION)]
        sealer.execute("SELECT pg_terminate_backend(%s)", [hostile.info.backend_pid])
        eventually(lambda: sealer.execute("SELECT eventlog_safe_position() > 0").fetchone() == (True,))


def test_the_script_runs_under_load_without_a_moment_without_rights(deployed: Deployment) -> None:
    script = deployed.manage("print_roles", "--prefix", PREFIX)
    done, statuses = threading.Event(), []
    with deployed.server() as server:
        user = server.register(20).json()["id"]

        def send() -> None:
            while not done.is_set():
                statuses.append(server.client.post("/api/orders/", json=order(user, "USD")).status_code)

        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        try:
            for _ in range(20):
                run(script)
        finally:
            done.set()
            for sender in senders:
                sender.join()
    assert len(statuses) > 20
    assert set(statuses) == {201}


def test_a_new_service_has_its_role_and_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES, "payments", {})
    script = roles.script("shop")
    assert "CREATE ROLE shop_payments LOGIN" in script
    assert "CREATE DATABASE shop_payments OWNER shop_payments" in script
    assert "REVOKE ALL ON DATABASE shop_payments FROM PUBLIC" in script
    assert "PASSWORD" not in script


@pytest.mark.parametrize("prefix", ["", "Shop", "shop-1", "1shop", "x; DROP ROLE y", "shop\n", "s" * 50])
def test_a_prefix_that_no_name_can_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(CommandError, match="plain name"):
        call_command("print_roles", prefix=prefix)
