"""The import rules hold, and each of them fails on a planted violation."""

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]

rules = ConfigParser()
rules.read(ROOT / ".importlinter")
CONTRACTS = {
    section.removeprefix("importlinter:contract:"): rules[section]["name"]
    for section in rules.sections()
    if section.startswith("importlinter:contract:")
}

# The order of the files in one room breaks too if a room below imports one above.
INSIDE = [
    *("log", "delivery", "replay", "processing", "backup", "sealing", "live", "relay", "webhooks", "monitoring"),
    "read",
]

# contract, file under apps/, what is added to it; a file that is not there is made
PLANTS = [
    ("services", "orders/write/handlers.py", "from apps.users.events import UserDeactivated"),
    ("services", "orders/read/viewsets.py", "from apps.users.events import UserDeactivated"),
    ("services", "orders/read/projectors.py", "from apps.users.models import User"),
    ("services", "orders/reactors.py", "from apps.users.write.commands import DeactivateUser"),
    ("services", "users/read/projectors.py", "from apps.orders.events import OrderPlaced"),
    ("services", "eventlog/dispatch.py", "from apps.users.events import UserRegistered"),
    ("services", "stray/__init__.py", ""),
    ("services", "orders/reactors.py", "from apps.processes.payment_deadline import PaymentDeadline"),
    ("services", "eventlog/processing/tables.py", "from apps.processes.models import Instance"),
    ("processes", "processes/payment_deadline.py", "from apps.orders.write.aggregates import Order"),
    ("processes", "processes/payment_deadline.py", "from apps.orders.read import queries"),
    ("processes", "processes/payment_deadline.py", "from apps.users.write import logins"),
    ("processes", "processes/refunds.py", "from apps.orders import reactors"),
    ("rooms", "users/write/handlers.py", "from apps.users.read import queries"),
    ("rooms", "orders/write/serializers.py", "from apps.orders.read import queries"),
    ("rooms", "users/read/queries.py", "from apps.users.write.commands import RenameUser"),
    ("rooms", "orders/read/projectors.py", "from apps.orders.write.aggregates import Order"),
    ("rooms", "orders/admin.py", "from apps.orders import reactors"),
    ("rooms", "users/write/viewsets.py", "from apps.users import reactors"),
    ("rooms", "users/read/viewsets.py", "from apps.users import urls"),
    ("rooms", "users/models.py", "from apps.users import reactors"),
    ("rooms", "users/events.py", "from apps.users.write.aggregates import User"),
    ("rooms", "users/helpers.py", ""),
    ("write", "orders/write/handlers.py", "from apps.orders.write import serializers"),
    ("write", "users/write/serializers.py", "from apps.users.write import logins"),
    ("write", "orders/write/serializers.py", "from apps.orders.write import viewsets"),
    ("write", "users/write/aggregates.py", "from apps.users.write.commands import RenameUser"),
    ("write", "orders/write/policies.py", ""),
    ("read", "orders/read/queries.py", "from apps.orders.read import serializers"),
    ("read", "users/read/serializers.py", "from apps.users.read import viewsets"),
    ("read", "eventlog/read/stray.py", ""),
    ("eventlog", "eventlog/store.py", "from apps.eventlog.delivery import projecting"),
    ("eventlog", "eventlog/delivery/projecting.py", "from apps.eventlog import dispatch"),
    ("eventlog", "eventlog/dispatch.py", "from apps.eventlog.api import problems"),
    ("eventlog", "eventlog/api/problems.py", "from apps.eventlog.read import serializers"),
    ("eventlog", "eventlog/stray.py", ""),
    ("doors", "orders/read/queries.py", "from apps.eventlog.delivery import checkpoints"),
    ("doors", "users/write/handlers.py", "from apps.eventlog.database import statements"),
    ("doors", "processes/payment_deadline.py", "from apps.eventlog.processing import running"),
    ("doors", "orders/reactors.py", "from apps.eventlog.encryption.personal_fields import reveal"),
    ("doors", "users/read/projectors.py", "from apps.eventlog.replay import rebuild"),
    ("doors", "orders/reactors.py", "from apps.eventlog.relay.webhooks import endpoints"),
    ("doors", "orders/reactors.py", "from apps.eventlog.relay import cloud_events"),
    ("relay", "eventlog/relay/cloud_events.py", "from apps.eventlog.relay import jetstream"),
    ("log", "eventlog/log/sqlite.py", "from apps.eventlog.log import queries"),
    ("log", "eventlog/log/postgresql.py", "from apps.eventlog.log import sqlite"),
    ("delivery", "eventlog/delivery/claims.py", "from apps.eventlog.delivery import projecting"),
    ("delivery", "eventlog/delivery/stray.py", ""),
    ("replay", "eventlog/replay/shadow_table.py", "from apps.eventlog.replay import rebuild"),
    ("backup", "eventlog/backup/moment.py", "from apps.eventlog.backup import take"),
    ("processing", "eventlog/processing/changes.py", "from apps.eventlog.processing import running"),
    ("processing", "eventlog/processing/stray.py", ""),
    ("sealing", "eventlog/sealing/canonical_form.py", "from apps.eventlog.sealing import leaves"),
    ("live", "eventlog/live/messages.py", "from apps.eventlog.live import tail"),
    ("webhooks", "eventlog/relay/webhooks/window.py", "from apps.eventlog.relay.webhooks import courier"),
    ("monitoring", "eventlog/monitoring/later.py", "from apps.eventlog.monitoring import lines"),
    ("one-door", "users/write/viewsets.py", "from apps.users.write import handlers"),
    ("one-door", "orders/reactors.py", "from apps.orders.write.handlers import place_order"),
    ("read-models", "users/write/handlers.py", "from apps.users.models import User"),
    ("read-models", "orders/reactors.py", "from apps.orders.models import Order"),
    ("read-models", "orders/urls.py", "from apps.orders import models"),
    ("event-table", "orders/read/queries.py", "from apps.eventlog.models import StoredEvent"),
    ("event-table", "users/write/logins.py", "from apps.eventlog.models import Reservation"),
    ("plain", "orders/events.py", "from django.utils import timezone"),
    ("plain", "users/write/commands.py", "import rest_framework"),
    ("plain", "users/write/aggregates.py", "from rest_framework import serializers"),
    ("plain", "orders/write/aggregates.py", "from apps.eventlog import store"),
    ("plain", "eventlog/events.py", "from django.db import models"),
    ("plain", "eventlog/commands.py", "import django"),
    ("plain", "eventlog/aggregates.py", "from apps.eventlog import failpoints"),
    ("plain", "eventlog/upcasting.py", "from django.conf import settings"),
    ("config", "eventlog/failpoints.py", "from config import settings"),
    ("config", "users/apps.py", "import config.routers"),
    ("cycles", "eventlog/api/access.py", "from apps.eventlog.api import command_viewset"),
    ("cycles", "eventlog/api/filters.py", "from apps.eventlog.api import pagination"),
]


def lint(tree: Path) -> tuple[int, set[str]]:
    """The exit status of lint-imports in a tree, and the names of the contracts that it found broken."""
    run = subprocess.run(LINT, cwd=tree, env={"COLUMNS": "200"}, capture_output=True, text=True, check=False)
    return run.returncode, set(re.findall(r"^(.+) BROKEN\b", run.stdout, re.MULTILINE))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the tree, to plant a violation in."""
    for folder in ("apps", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_contract() -> None:
    assert lint(ROOT) == (0, set())


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS, ids=[f"{plant[0]}-{plant[1]}" for plant in PLANTS])
def test_a_planted_violation_breaks_its_contract(copied: Path, contract: str, file: str, line: str) -> None:
    planted = copied / "apps" / file
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as source:
        source.write(f"\n{line}\n")
    status, broken = lint(copied)
    assert status == 1
    # An import against the order of the layers may also close a circle; nothing else may break.
    assert CONTRACTS[contract] in broken
    assert broken <= {CONTRACTS[each] for each in (contract, "cycles", *INSIDE)}


def test_every_contract_has_a_planted_violation() -> None:
    assert {plant[0] for plant in PLANTS} == set(CONTRACTS)


def test_between_services_only_projectors_and_reactors_import_only_events() -> None:
    listed = rules["importlinter:contract:services"]["ignore_imports"].split("\n")
    allowed = re.compile(r"apps\.\w+\.(read\.projectors|reactors) -> apps\.\w+\.events")
    assert [line for line in listed if line and not allowed.fullmatch(line)] == []
