"""Replicas of the read databases: copies that PostgreSQL keeps, at which queries read (`<ALIAS>_REPLICA_URL`)."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment

# What a URL says (the name of its variable, its options, and how many hosts), as settings of a connection.
Connect = Callable[..., dict[str, Any]]


def replicas(
    env: Environment, services: Collection[str], databases: Mapping[str, Any], connect: Connect
) -> dict[str, dict[str, Any]]:
    """The replica of each service that has one, in the form of DATABASES. Raises ImproperlyConfigured.

    A service without a database here, because SERVE leaves it out, needs no replica either. The databases of a past
    (DATABASE_SUFFIX) have none.
    """
    if env.str("DATABASE_SUFFIX", default=""):
        return {}
    for alias in databases.keys() - services:
        if env.str(variable := f"{alias.upper()}_REPLICA_URL", default=""):
            raise ImproperlyConfigured(f"{variable}: only read databases have replicas ({', '.join(services)})")
    found = {
        service: _replica(env, service, databases[service], connect) for service in services if service in databases
    }
    return {service: replica for service, replica in found.items() if replica}


def _replica(env: Environment, service: str, primary: Mapping[str, Any], connect: Connect) -> dict[str, Any]:
    """{} if the service has none. Nothing can be written there, whatever the URL leads to.

    Of several hosts any will do, and each connection begins with one by chance.
    """
    variable = f"{service.upper()}_REPLICA_URL"
    if not (parsed := env.database(variable)):
        return {}
    if not all("sqlite" not in database["ENGINE"] for database in (parsed, primary)):
        raise ImproperlyConfigured(f"{variable}: there are replicas on PostgreSQL alone, and of a database there")
    host, given = unquote(parsed["HOST"]), parsed.get("OPTIONS", {})
    several = {"target_session_attrs": "any", "load_balance_hosts": "random"} if "," in host else {}
    options = {"connect_timeout": 2, **several, **given}
    if "pool" not in given:
        options["options"] = f"-c default_transaction_read_only=on {given.get('options', '')}".strip()
    made = connect(variable, options, hosts=host.count(",") + 1)
    return {**parsed, "HOST": host, "CONN_MAX_AGE": 60, **made}
