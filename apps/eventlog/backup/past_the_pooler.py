"""A session at the server behind a pooler of transactions.

pg_dump sets much for its session, before its transaction begins. A pooler would hand that session to others, who would
then find no table, because pg_dump empties `search_path`.
"""

from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper

from apps.eventlog.backup.database_copy import CannotCopy

# A unix socket has no address, and only some roles may read its folder; the others try the usual folder.
WHERE = """
SELECT coalesce(host(inet_server_addr()), CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
         THEN split_part(current_setting('unix_socket_directories'), ',', 1) ELSE '' END),
       current_setting('port'), session_user::text, current_database()::text
"""
WHICH = "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()"
OF_A_POOLER = ("prepare_threshold", "target_session_attrs")
DJANGOS = "django.db.backends.postgresql"


def past_the_pooler(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """The same database without the pooler, at the address that the server itself tells; not connected yet.

    Raises `CannotCopy` if that leads elsewhere or nowhere.
    """
    with connection.cursor() as cursor:
        cursor.execute(WHERE)
        host, port, user, name = cursor.fetchone() or ("", "", "", "")
        cursor.execute(WHICH)
        meant = cursor.fetchone()
    given = connection.settings_dict
    options = {option: value for option, value in given["OPTIONS"].items() if option not in OF_A_POOLER}
    beyond = {"ENGINE": DJANGOS, "HOST": host, "PORT": port, "USER": user, "NAME": name, "OPTIONS": options}
    direct: Any = DatabaseWrapper(given | beyond, connection.alias)
    why = _unlike(direct, meant)
    direct.close()
    if why:
        raise CannotCopy(
            f"{name} cannot be copied through a pooler of transactions, and PostgreSQL itself is not at "
            f"{host or 'the usual socket'}, port {port} ({why}): run this with URLs that lead to PostgreSQL"
        )
    return direct  # type: ignore[no-any-return]


def _unlike(direct: Any, meant: Any) -> str:
    """Why this is not the server that is meant; "" if it is."""
    try:
        direct.connect()
        found = direct.connection.execute(WHICH).fetchone()
    except Exception as error:  # of the driver, or of Django, which wraps it
        if not isinstance(error.__cause__ or error, psycopg.Error):
            raise
        return str(error).splitlines()[0]
    return "" if found == meant else "another server is there"
