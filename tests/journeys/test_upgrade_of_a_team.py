"""A team's clone, with a service of its own and its data, merges a newer Headrace: the steps of docs/how-to/upgrade.md.

The short form plants an older state of this tree. The long one takes an earlier commit, if the history is here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.deployment import ROOT, Deployment
from tests.support import engine
from tools import postgres

pytestmark = pytest.mark.direct  # it names its databases itself

TREE = ("apps", "config", "docs", "tests", "tools", "examples")
FILES = ("manage.py", "pyproject.toml", ".importlinter", "requirements.txt", "requirements-dev.txt", "CHANGELOG.md")
# The last commit of the main line before services could be generated.
BEFORE = "485bf3d"
GIT = {"GIT_AUTHOR_NAME": "team", "GIT_AUTHOR_EMAIL": "team@example.org"}
GIT |= {"GIT_COMMITTER_NAME": "team", "GIT_COMMITTER_EMAIL": "team@example.org", "GIT_CONFIG_GLOBAL": os.devnull}
# An older state: an index of every service had another name, and these migrations and later ones were not there.
NEWEST = {"orders": "0005_dead_letter_index.py", "users": "0009_dead_letter_index.py"}  # the first that was not there
INDEX = 'models.Index(fields=["projector", "stream"])'
OLD_INDEX = 'models.Index(fields=["projector", "stream"], name="%(app_label)s_older")'
SERVICES = 'SERVICES = ["users", "orders"]'
WORK = """
from uuid import uuid4
from decimal import Decimal
from apps.eventlog.dispatch import dispatch
from apps.users.write.commands import RegisterUser
from apps.orders.events import OrderLine
from apps.orders.write.commands import PlaceOrder
from apps.parcels.write.commands import OpenParcel
for number in range(5):
    user = uuid4()
    dispatch(RegisterUser(user, f"{user}@example.org", f"Zoë {number}"))
    dispatch(PlaceOrder(uuid4(), user, "EUR", (OrderLine("A", 2, Decimal("1.50")),)))
    dispatch(OpenParcel(uuid4(), user, f"Parcel {number}"))
"""
EVERYTHING = """
import json
from apps.eventlog import store
from apps.orders.models import Order
from apps.parcels.models import Parcel
from apps.users.models import User
rows = [sorted(map(str, kind.objects.values_list("pk", "version"))) for kind in (User, Order, Parcel)]
print(json.dumps([rows, [[e.position, str(e.event_id), e.type, str(e.data)] for e in store.read_all()]]))
"""


class Team:
    """A clone with the branch `team`, and the deployment that runs it."""

    def __init__(self, directory: Path, data: Path) -> None:
        self.directory = directory
        self.deployment = Deployment(data, {}, directory)

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.directory), *arguments]
        done = subprocess.run(command, env=os.environ | GIT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def run(self, program: str) -> None:
        """A program of this environment, as `make check` runs it."""
        command = [str(Path(sys.executable).with_name(program))]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def make_databases(self) -> None:
        """Those of its own service too."""
        data = self.deployment.directory
        if engine.POSTGRES:
            prefix = f"journey_{engine.WORKER}_{data.name}".lower()
            urls = postgres.databases(engine.URL, prefix)
            name = next(iter(urls.values()))
            urls["PARCELS_DATABASE_URL"] = name.rpartition("_")[0] + "_parcels"
            import psycopg

            with psycopg.connect(engine.URL, autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{prefix}_parcels"')  # type: ignore[arg-type]
            self.deployment.environment |= urls

    def work(self) -> list[object]:
        """Migrate, do something, and say what there is then."""
        self.make_databases()
        self.deployment.manage("migrate", "-v0")
        self.deployment.manage("shell", "-v0", "-c", WORK)
        return self.everything()

    def everything(self) -> list[object]:
        found: list[object] = json.loads(self.deployment.manage("shell", "-v0", "-c", EVERYTHING).splitlines()[-1])
        return found

    def deploy(self) -> None:
        self.deployment.manage("makemigrations", "--check", "--dry-run", "-v0")
        self.deployment.manage("lock_schemas", "--check")
        self.deployment.manage("migrate", "-v0")
        self.deployment.manage("run_projectors", "--once")
        self.deployment.manage("replay_events", "--verify", "--no-progress")


def copy(directory: Path) -> None:
    for name in TREE:
        shutil.rmtree(directory / name, ignore_errors=True)
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, directory)


def plant(directory: Path) -> None:
    """Make a copy of this tree an older state of it."""
    for service, first in NEWEST.items():
        migrations = (directory / "apps" / service / "migrations").glob("0*.py")
        newer = [file for file in migrations if file.name >= first]
        assert newer
        for file in newer:
            file.unlink()
    models = directory / "apps/eventlog/models.py"
    assert models.read_text().count(INDEX) == 1
    models.write_text(models.read_text().replace(INDEX, OLD_INDEX))


def check_the_merged(team: Team, before: list[object]) -> None:
    team.deployment.manage("makemigrations", "parcels", "-v0")  # what the base of its tables has gained
    team.deploy()
    assert team.everything() == before
    team.deployment.manage("shell", "-v0", "-c", WORK)
    team.deployment.manage("replay_events", "--verify", "--no-progress")


@pytest.mark.timeout(300)
def test_a_team_with_a_service_of_its_own_merges_a_newer_version(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    team = Team(tmp_path / "clone", tmp_path_factory.mktemp("team"))
    team.directory.mkdir()
    team.git("init", "-q", "-b", "headrace")
    copy(team.directory)
    plant(team.directory)
    team.commit("the older version")
    team.git("switch", "-q", "-c", "team")
    team.deployment.manage("startservice", "parcels")
    team.commit("parcels")
    before = team.work()
    team.git("switch", "-q", "headrace")
    copy(team.directory)
    team.commit("the newer version")
    team.git("switch", "-q", "team")
    team.git("merge", "-q", "-m", "upgrade", "headrace")
    check_the_merged(team, before)
    if not engine.POSTGRES:  # it looks at the source alone
        team.run("lint-imports")


def enter(file: Path, old: str, new: str) -> None:
    assert file.read_text().count(old) == 1, (file.name, old)
    file.write_text(file.read_text().replace(old, new))


def enter_rules(team: Team) -> None:
    """The service at the three places marked [+]."""
    rules = team.directory / ".importlinter"
    enter(rules, "users | orders\n", "users | orders | parcels\n")
    enter(rules, "    apps.orders\n", "    apps.orders\n    apps.parcels\n")
    enter(rules, "    apps.orders.models\n", "    apps.orders.models\n    apps.parcels.models\n")


def merge(team: Team, commit: str) -> None:
    """As the page says: of the import rules take theirs, and enter the service again."""
    merged = subprocess.run(
        ["git", "merge", "-q", "-m", "upgrade", commit], cwd=team.directory, env=os.environ | GIT, check=False
    )
    if merged.returncode:
        assert team.git("diff", "--name-only", "--diff-filter=U").split() == [".importlinter"]
        team.git("checkout", "--theirs", ".importlinter")
        enter_rules(team)
        team.commit("upgrade")


def make_by_hand(team: Team, example: Path) -> None:
    """The service that `startservice` would have made, in a version that has no such command."""
    shutil.copytree(ROOT, example, ignore=shutil.ignore_patterns(".*", "__pycache__", "var"))
    shutil.copy(ROOT / ".importlinter", example)
    Deployment(example / "var", {}, example).manage("startservice", "parcels")
    for top in ("apps", "tests"):
        shutil.copytree(example / top / "parcels", team.directory / top / "parcels")
    shutil.rmtree(team.directory / "apps/parcels/migrations")
    (team.directory / "apps/parcels/events.lock.json").unlink()
    enter(team.directory / "config/settings.py", SERVICES, 'SERVICES = ["users", "orders", "parcels"]')
    enter_rules(team)
    team.deployment.manage("makemigrations", "parcels", "-n", "read_models", "-v0")
    team.deployment.manage("lock_schemas")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_clone_of_an_earlier_commit_with_a_service_of_its_own_merges_this_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", BEFORE], capture_output=True, check=False)
    if there.returncode:
        pytest.skip("the history of the source is not here")
    team = Team(tmp_path / "clone", tmp_path_factory.mktemp("team"))
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(team.directory)], check=True)
    team.git("switch", "-q", "-c", "team", BEFORE)
    make_by_hand(team, tmp_path / "example")
    team.commit("parcels")
    before = team.work()
    merge(team, head.stdout.strip())
    check_the_merged(team, before)
    team.run("lint-imports")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/parcels"]
    done = subprocess.run(command, cwd=team.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
