"""Finds connections that their database server has closed, before a request uses them."""

import select
from typing import Any

from django.db import connections


def close_dead_connections(**_: Any) -> None:
    """Close this thread's connections to PostgreSQL if the server has ended them. The next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        close_if_dead(connection)


def close_if_dead(connection: Any) -> None:
    """A connection that was ended has something to read on its socket. Looking there costs no query.

    CONN_HEALTH_CHECKS would send one to each database in each request.
    """
    if connection.vendor == "postgresql" and connection.connection and not connection.in_atomic_block:
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN)
        if poll.poll(0):
            connection.close()
