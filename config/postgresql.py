"""How a process connects to PostgreSQL: what bounds its waiting, and what a pooler of transactions needs."""

from collections.abc import Mapping
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

POOLED = "apps.eventlog.database.pooled"
# What belongs to a session, of which a pooler lends one for each transaction.
OF_SESSIONS = {
    "options": "set them for the role, as `manage.py print_roles --pool` does",
    "assume_role": "connect as that role",
}


class Process(NamedTuple):
    """What this process is: its name, as PostgreSQL shows it, and whether it serves others who wait."""

    name: str
    serves: bool


def connection(
    variable: str, given: Mapping[str, object], *, process: Process, kept: bool, hosts: int
) -> dict[str, object]:
    """ENGINE, OPTIONS and more for Django. The options `given` in the URL, which `variable` holds, override ours.

    `kept`: the database cannot be rebuilt, so its commits are synced. `hosts` is how many the URL names. Raises
    ImproperlyConfigured.
    """
    pool = given.get("pool")
    if pool not in (None, "transaction"):
        raise ImproperlyConfigured(
            f"{variable}: pool is transaction, or left out. A pooler of sessions needs nothing; one of statements "
            "cannot work, because a command is a transaction"
        )
    options = {**_bounds(process.name, hosts), **{name: value for name, value in given.items() if name != "pool"}}
    if pool is None:
        settings = f"{_settings(process, kept=kept)} {given.get('options', '')}".strip()  # of two the later one holds
        # Bound by the server, statements are prepared there and planned once.
        prepared = {"server_side_binding": True, "prepare_threshold": 5}
        return {"OPTIONS": {**prepared, **options, "options": settings}}
    for name, instead in OF_SESSIONS.items():
        if name in given:
            raise ImproperlyConfigured(f"{variable}: with pool=transaction there is no {name}: {instead}")
    return {
        "ENGINE": POOLED,
        "OPTIONS": {"server_side_binding": True, "prepare_threshold": None, **options},
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def _bounds(name: str, hosts: int) -> dict[str, object]:
    """What the client sees to, so that nothing waits for ever.

    A host that vanishes is noticed within seconds: by keepalives if an answer is awaited, and by `tcp_user_timeout` (in
    ms) if something was sent.
    """
    return {
        "connect_timeout": 5 if hosts == 1 else 2,  # for each host; a command may have to connect to several databases
        "fallback_application_name": name,
        "tcp_user_timeout": 5000,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        **({"target_session_attrs": "read-write"} if hosts > 1 else {}),
    }


def _settings(process: Process, *, kept: bool) -> str:
    """What the server sees to, for this session. A process that was stopped in a transaction must not hold its locks.

    Web and workers give up a statement that hangs. What an operator runs may take long, also where the role has limits.
    """
    server = "-c idle_in_transaction_session_timeout=30s"
    server += " -c statement_timeout=15s -c lock_timeout=10s" if process.serves else ""
    server += "" if process.serves else " -c statement_timeout=0 -c lock_timeout=0"
    return server + ("" if kept else " -c synchronous_commit=off")
