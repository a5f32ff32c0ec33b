"""`manage.py test`: what `tests/conftest.py` arranges for pytest, for Django's own runner. TEST_RUNNER names it."""

import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test.runner import DiscoverRunner

from tests.support.erase import empty_by_erasing, in_files

FAST = ["django.contrib.auth.hashers.MD5PasswordHasher"]


class Runner(DiscoverRunner):
    """Databases in files on SQLite, fast hashes, and tables emptied by a helper that may empty the log."""

    def setup_test_environment(self, **options: Any) -> None:
        super().setup_test_environment(**options)
        settings.PASSWORD_HASHERS = FAST
        empty_by_erasing()

    def setup_databases(self, **options: Any) -> Any:
        self.directory = tempfile.TemporaryDirectory(prefix="headrace-tests-")
        in_files(settings.DATABASES, Path(self.directory.name))
        return super().setup_databases(**options)

    def teardown_databases(self, old_config: Any, **options: Any) -> None:
        super().teardown_databases(old_config, **options)
        self.directory.cleanup()
