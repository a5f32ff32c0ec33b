"""How long a transaction at the log may take: commands that an operator runs are not limited."""

from typing import Any

from django.conf import settings

POOLED = "apps.eventlog.database.pooled"
KNOWN_SINCE = 170000  # the version of PostgreSQL
LIFT = "SET transaction_timeout = 0"


def lift(connection: Any, **_: Any) -> None:
    """A new connection of a command that may take long: lift the limit that `print_roles` sets on the database.

    The limit is for whoever holds an append open. A migration, an import or a check of the log takes longer, and
    releases followers as soon as it can. Older versions refuse a setting that they do not know, so it cannot be among
    the options with which every connection begins. Of a pooler of transactions, each transaction lifts the limit.
    """
    if connection.vendor != "postgresql" or is_pooled(connection) or not settings.TAKES_LONG:
        return
    if connection.connection.info.server_version >= KNOWN_SINCE:
        connection.connection.execute(LIFT)


def is_pooled(connection: Any) -> bool:
    """Does each transaction of this connection get a session of its own, from a pooler?"""
    return connection.settings_dict["ENGINE"] == POOLED
