"""Tools that watch Django's database connections see every statement of the log, appends included."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from apps.eventlog import store
from apps.orders.events import OrderPaid
from tests.support.exported import document, import_documents
from tests.support.history import make_history

LOG = connections["eventlog"]


def append(*, expected_version: int = 0, stream: str = "") -> None:
    store.append(stream or f"order-{uuid4()}", [OrderPaid("p-7")], expected_version=expected_version)


def appends(statements: list[str]) -> int:
    return sum("eventlog_append" in each or "INSERT INTO eventlog_event " in each for each in statements)


def test_query_counters_and_wrappers_see_an_append_alone_and_in_a_unit() -> None:
    def in_unit() -> None:
        with store.unit():
            append()

    for work in (append, in_unit):
        seen: list[str] = []

        def watch(execute: Any, sql: str, params: Any, many: bool, context: Any, seen: list[str] = seen) -> Any:
            seen.append(sql)
            return execute(sql, params, many, context)

        with CaptureQueriesContext(LOG) as captured, LOG.execute_wrapper(watch):
            work()
        assert appends(seen) == appends([query["sql"] for query in captured]) == 1


def test_an_append_is_counted(django_assert_num_queries: Any) -> None:
    append()
    with django_assert_num_queries(1, connection=LOG):
        append()


@pytest.mark.postgres
@pytest.mark.direct
def test_the_server_keeps_appends_prepared_that_are_seen() -> None:
    for version in range(8):
        append(stream="order-a", expected_version=version)
    with LOG.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%eventlog_append%%'")
        assert cursor.fetchone() == (1,)


def test_many_rows_at_once_can_be_shown_by_an_instrument() -> None:
    many_rows = []

    def watching(connection: Any) -> Callable[..., Any]:
        def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if many and params:
                assert {type(row) for row in params} == {tuple}, sql
                if connection.vendor == "sqlite":
                    assert "%s" not in connection.ops.last_executed_query(context["cursor"], sql, params)
                many_rows.append(sql)
            return execute(sql, params, many, context)

        return watch

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(watching(connection)))
        make_history(users=3, commands=20)
        import_documents([document(), document()])
    assert bool(many_rows) or LOG.vendor == "postgresql"
