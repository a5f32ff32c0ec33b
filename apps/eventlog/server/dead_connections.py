"""Connections that their server has closed are found out before a request uses them."""

import select
from typing import Any

from django.db import connections


def close_dead_connections(**_: Any) -> None:
    """Close this thread's connections to a PostgreSQL that has ended them; the next query opens new ones.

    The server has said so on the socket, so it need not be asked, as CONN_HEALTH_CHECKS would with a query for each
    database and request.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and connection.connection and not connection.in_atomic_block:
            poll = select.poll()
            poll.register(connection.connection.fileno(), select.POLLIN)
            if poll.poll(0):
                connection.close()
