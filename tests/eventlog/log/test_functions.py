"""Our functions on PostgreSQL: none can be made to run somebody else's code with the owner's rights."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections, transaction

pytestmark = pytest.mark.postgres

PATH = "search_path=pg_catalog, public, pg_temp"
PUBLIC = {
    "eventlog_append",
    "eventlog_append_alone",
    "eventlog_append_events",
    "eventlog_append_events_alone",
    "eventlog_erase",
    "eventlog_hold",
    "eventlog_safe_place",
    "eventlog_safe_position",
}  # what every role may call

OURS = """
SELECT p.proname, p.proconfig,
       EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY p.proname
"""


def open_functions(alias: str) -> list[str]:
    """What is wrong with the functions of a database, a line each."""
    with connections[alias].cursor() as cursor:
        found = cursor.execute(OURS).fetchall()
    unpinned = [f"{name} does not pin its search_path" for name, settings, _ in found if settings != [PATH]]
    public = [f"{name} can be executed by PUBLIC" for name, _, public in found if public and name not in PUBLIC]
    return unpinned + public


@contextmanager
def planted(statement: str) -> Iterator[None]:
    with transaction.atomic(using="eventlog"):
        connections["eventlog"].cursor().execute(statement)
        yield
        transaction.set_rollback(True, using="eventlog")


def test_every_function_pins_its_search_path_and_is_closed_to_others_unless_listed() -> None:
    assert [fault for alias in connections for fault in open_functions(alias)] == []
    with connections["eventlog"].cursor() as cursor:
        found = {name for name, *_ in cursor.execute(OURS).fetchall()}
    assert found >= {*PUBLIC, "eventlog_not_appended", "eventlog_refuse"}  # the walk sees them


@pytest.mark.parametrize(
    ("settings", "faults"),
    [
        ("", ["planted does not pin its search_path", "planted can be executed by PUBLIC"]),
        ("SET search_path = public", ["planted does not pin its search_path", "planted can be executed by PUBLIC"]),
        ("SET search_path FROM CURRENT", ["planted does not pin its search_path", "planted can be executed by PUBLIC"]),
        ("SET search_path = pg_catalog, public, pg_temp", ["planted can be executed by PUBLIC"]),
    ],
)
def test_the_walk_finds_a_planted_function(settings: str, faults: list[str]) -> None:
    with planted(f"CREATE FUNCTION planted() RETURNS int LANGUAGE sql SECURITY DEFINER {settings} AS 'SELECT 1'"):
        assert open_functions("eventlog") == faults


def test_a_temporary_table_does_not_stand_in_for_the_log() -> None:
    """Not even where a role may make one, as in a database whose rights nobody has set."""
    append = (
        'SELECT outcome FROM eventlog_append(\'thing-1\', 0, \'[{"event_id": "00000000-0000-0000-0000-000000000009",'
        ' "type": "a.B", "schema_version": 1, "data": {}}]\', \'{}\')'
    )
    with planted("CREATE TEMP TABLE eventlog_event (LIKE public.eventlog_event)"):
        cursor = connections["eventlog"].cursor()
        assert cursor.execute(append).fetchall() == [("appended",)]
        assert cursor.execute("SELECT count(*) FROM pg_temp.eventlog_event").fetchone() == (0,)
        assert cursor.execute("SELECT count(*) FROM public.eventlog_event").fetchone() == (1,)
