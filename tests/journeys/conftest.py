"""One migrated deployment a session, copied for each journey."""

import pytest

from tests.journeys.deployment import Deployment


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment.make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def deployment(template: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment.make(tmp_path_factory.mktemp("deployment"), template)
