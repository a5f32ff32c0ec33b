"""pyeventsourcing's own tests of its recorders, run against the store of Headrace; see README.md.

PYTHONPATH=. python benchmarks/recorders/suites.py sqlite|postgres
"""

import sys
import unittest
from typing import Any

from django.db import connections

from benchmarks.site import deployment


def suites(engine: str) -> list[type[unittest.TestCase]]:
    """Their abstract test cases, each with a recorder of ours. README.md says which one cannot apply, and why."""
    from eventsourcing.tests import persistence

    class Aggregates(persistence.AggregateRecorderTestCase):
        def create_recorder(self) -> Any:
            return new_recorder(answers_positions=False)

    class Applications(persistence.ApplicationRecorderTestCase):
        def create_recorder(self) -> Any:
            return new_recorder(answers_positions=True)

    class NonInterleaving(persistence.NonInterleavingNotificationIDsBaseCase):
        def create_recorder(self) -> Any:
            return new_recorder(answers_positions=True)

    return [Aggregates, Applications, *([NonInterleaving] if engine == "sqlite" else [])]


def new_recorder(*, answers_positions: bool) -> Any:
    from benchmarks.recorders.recorder import Recorder
    from tests.support.erase import erase

    erase("eventlog")
    return Recorder(answers_positions=answers_positions)


if __name__ == "__main__":
    with deployment(sys.argv[1]):
        tests = [unittest.defaultTestLoader.loadTestsFromTestCase(suite) for suite in suites(sys.argv[1])]
        passed = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(tests)).wasSuccessful()
        connections.close_all()
    sys.exit(not passed)
