"""Where a run of the tests goes: to PostgreSQL itself, or with DB=pooler through a PgBouncer."""

import pytest
from django.db import connections

from tests.journeys.deployment import Deployment
from tests.support import engine

ASKS = "from django.db import connections; print(*[each.settings_dict['ENGINE'] for each in connections.all()])"
POOLED = "apps.eventlog.database.pooled"


@pytest.mark.postgres
def test_behind_a_pooler_each_test_goes_through_it_and_elsewhere_none() -> None:
    for connection in connections.all():
        connection.ensure_connection()
        assert (connection.settings_dict["ENGINE"] == POOLED) is engine.POOLED
        assert (connection.connection.info.port == getattr(engine.POOLER, "port", None)) is engine.POOLED


@pytest.mark.postgres
def test_so_does_each_process_of_a_journey(tmp_path_factory: pytest.TempPathFactory) -> None:
    template = Deployment.make(tmp_path_factory.mktemp("template"))
    deployment = Deployment.make(tmp_path_factory.mktemp("pooled"), template)
    assert {name == POOLED for name in deployment.manage("shell", "-v0", "-c", ASKS).split()} == {engine.POOLED}
