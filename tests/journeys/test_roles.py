"""The REST journey under the roles of deploy/, which can do what they need and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.journeys.deployment import ROOT, STAFF_TOKEN, Deployment, eventually
from tests.support import engine

pytestmark = pytest.mark.postgres

PREFIX = "headrace_by_roles_"  # beside whatever a server of one's own holds
ALIASES = ("default", "keys", "users", "orders", "eventlog")
ROLES = (*ALIASES, "eventlog_owner")


def url(database: str, role: str) -> str:
    parts = urlsplit(engine.URL)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{PREFIX}{role}@{host}", path=f"/{PREFIX}{database}"))


def script(name: str) -> list[str]:
    """The statements of a script of deploy/, for names with our prefix."""
    text = (ROOT / "deploy" / name).read_text().replace("headrace_", PREFIX)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment made by the scripts of deploy/, as an operator would."""
    with psycopg.connect(engine.URL, autocommit=True) as superuser:
        try:
            for statement in script("1-roles-and-databases.sql"):
                superuser.execute(statement)  # type: ignore[arg-type]
            deployment = Deployment(tmp_path, {f"{name.upper()}_DATABASE_URL": url(name, name) for name in ALIASES})
            owner = url("eventlog", "eventlog_owner")
            deployment.manage("migrate", "-v0", EVENTLOG_DATABASE_URL=owner)
            with psycopg.connect(owner, autocommit=True) as connection:
                for statement in script("2-eventlog-grants.sql"):
                    connection.execute(statement)  # type: ignore[arg-type]
            deployment.token = deployment.manage("shell", "-v0", "-c", STAFF_TOKEN).split()[-1]
            yield deployment
        finally:
            for name in ALIASES:
                superuser.execute(f"DROP DATABASE IF EXISTS {PREFIX}{name} WITH (FORCE)")  # type: ignore[arg-type]
            for name in ROLES:
                superuser.execute(f"DROP ROLE IF EXISTS {PREFIX}{name}")  # type: ignore[arg-type]


def test_the_whole_way_goes_under_least_privilege(deployed: Deployment) -> None:
    with deployed.server() as server:
        client, user = server.client, server.register(1).json()["id"]
        line = {"sku": "A", "quantity": 1, "unit_price": "2.00"}
        order = {"customer_id": user, "currency": "EUR", "lines": [line]}
        first = client.post("/api/orders/", json=order, headers={"Idempotency-Key": "k"}).json()
        assert client.post("/api/orders/", json=order, headers={"Idempotency-Key": "k"}).json() == first
        second = client.post("/api/orders/", json=order).json()["id"]
        for path, body in (
            (f"orders/{second}/pay/", {"payment_reference": "p"}),
            (f"users/{user}/change-email/", {"email": "x@example.org"}),
            (f"users/{user}/deactivate/", {"reason": "left"}),
        ):
            assert client.post(f"/api/{path}", json=body).status_code == 202
        eventually(lambda: client.get(f"/api/orders/{first['id']}/").json()["status"] == "cancelled")
        assert client.get("/api/orders/summary/").json()["results"][0]["revenue"] == "2.00"
        deployed.manage("replay_events")
        assert "as the log says" in deployed.manage("replay_events", "--verify")
        deployed.manage("seal_events")
        assert "0 events are not sealed yet" in deployed.manage("verify_log")
    for statement in FORBIDDEN:
        with psycopg.connect(url("eventlog", "eventlog")) as log, pytest.raises(psycopg.errors.InsufficientPrivilege):
            log.execute(statement)  # type: ignore[arg-type]
    for database in ALIASES:
        for role in ROLES:
            if role.removesuffix("_owner") != database:
                with pytest.raises(psycopg.OperationalError, match="permission denied"):
                    psycopg.connect(url(database, role))


COLUMNS = "stream, category, type, schema_version, data, metadata, recorded_at"
FORGED = f"SELECT gen_random_uuid(), 99, {COLUMNS} FROM eventlog_event"
FORBIDDEN = [
    f"INSERT INTO eventlog_event (event_id, stream_version, {COLUMNS}) {FORGED}",
    "UPDATE eventlog_event SET type = 'forged'",
    "DELETE FROM eventlog_event",
    "TRUNCATE eventlog_event",
    "SELECT * FROM eventlog_event FOR UPDATE",
    "SELECT setval('eventlog_event_position_seq', 1)",
    "SELECT nextval('eventlog_event_position_seq')",
    "ALTER TABLE eventlog_event DISABLE TRIGGER ALL",
    "SELECT eventlog_import('[]')",
    "UPDATE eventlog_seal SET root = 'forged'",
    "DELETE FROM eventlog_seal",
    "TRUNCATE eventlog_seal",
    "ALTER TABLE eventlog_seal DISABLE TRIGGER ALL",
]
