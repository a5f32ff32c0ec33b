"""What all tests share: clean databases of every service, and given-when-then over events."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings

from apps.orders.write.aggregates import Order
from apps.users.write.aggregates import User
from tests.journeys.faults import can_mount
from tests.support import engine
from tests.support.api import Api
from tests.support.erase import empty_by_erasing, in_files
from tests.support.fulfilment import fulfilment  # noqa: F401
from tests.support.projection import hardened  # noqa: F401
from tests.support.redelivery import delivered_twice  # noqa: F401
from tests.support.runner import FAST
from tests.support.scenario import Scenario

# An example may wait for other processes, and a busy machine is no fault of the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

settings.PASSWORD_HASHERS = FAST
empty_by_erasing()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests use all databases, committed for real, except those of the source tree and of
    a browser, whose loop keeps Django's connections away from its thread.

    What is one engine's own (REPLACE, TRUNCATE) is left out of the other's run, and what is the same for both out of
    PostgreSQL's: the source tree, and tests that use no database. So is what mounts where that is not allowed, as the
    header of the run says. Behind a pooler, so is what goes past it, and where a team has a service that a page of the
    docs makes, the test of that page.
    """
    other = "sqlite" if engine.POSTGRES else "postgres"
    foreign = [item for item in items if item.get_closest_marker(other) or (engine.POSTGRES and uses_no_database(item))]
    if any(item.get_closest_marker("mounts") for item in items) and not can_mount():
        foreign += [item for item in items if item.get_closest_marker("mounts") and item not in foreign]
    if engine.POOLED:
        foreign += [item for item in items if item.get_closest_marker("direct") and item not in foreign]
    foreign += [item for item in items if makes_what_is_there(item) and item not in foreign]
    config.hook.pytest_deselected(items=foreign)
    items[:] = [item for item in items if item not in foreign]
    for item in items:
        without = "architecture" in item.path.parts or item.get_closest_marker("browser")
        if not without and item.get_closest_marker("django_db") is None:
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))


def makes_what_is_there(item: pytest.Item) -> bool:
    return any(name in settings.SERVICES for marker in item.iter_markers("makes") for name in marker.args)


def uses_no_database(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    return "architecture" in item.path.parts or (marker is not None and marker.kwargs.get("databases") == [])


def pytest_report_header() -> list[str]:
    return [] if can_mount() else ["mounting is not allowed here: the tests of a full disk are left out"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    in_files(settings.DATABASES, engine.DIRECTORY)


@pytest.fixture(scope="session")
def django_db_keepdb(request: pytest.FixtureRequest) -> bool:
    """PgBouncer keeps sessions at the test databases, so they cannot be dropped. They go with their server."""
    return engine.POOLED or bool(request.config.option.reuse_db)


@pytest.fixture
def order() -> Scenario:
    return Scenario(Order)


@pytest.fixture
def user() -> Scenario:
    return Scenario(User)


@pytest.fixture
def api() -> Api:
    """The REST API, seen by nobody in particular; `api.staff` and `api.customer()` are somebody."""
    return Api()


@pytest.fixture
def root() -> Path:
    """The top of the source tree."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def worker_mode(settings: Any) -> None:
    """Commands do not project: `run_projectors` would."""
    settings.PROJECTIONS = "worker"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With NO_SKIPS set, a skipped test fails the run: a gap must not look like a pass."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIPS") and reporter.stats.get("skipped"):
        reporter.write_line("NO_SKIPS is set and tests were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
