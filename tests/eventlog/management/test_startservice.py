"""`startservice` makes services that work, and refuses names that cannot be one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.eventlog.management.commands.startservice import plural, settings_with, singular

# Not only what a test of the project might leave, but what others have put there: an environment, data, a history.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", ".hypothesis")


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    """A copy of the source tree."""
    return Path(shutil.copytree(root, tmp_path / "tree", ignore=LEFT_OUT))


def run(tree: Path, *arguments: str) -> str:
    """What a Python process in a tree prints; fails with it unless the process ends with 0."""
    without = ("DJANGO_SETTINGS_MODULE", "DATA_DIR", "PYTEST_CURRENT_TEST")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    environment = kept | {"DATA_DIR": str(tree / "var"), "SECRET_KEY": "k" * 60, "DEBUG": "on"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=False, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free(tree: Path) -> str:
    """The name of a service that a team has not made yet."""
    return next(name for name in ("payments", "refunds", "test_parcels") if not (tree / "apps" / name).exists())


def start(tree: Path, *arguments: str) -> None:
    said = run(tree, "manage.py", "startservice", *arguments)
    assert f"apps/{arguments[0]} and tests/{arguments[0]} are made" in said


@pytest.mark.sqlite  # the nightly form runs on both
def test_a_new_service_works(tree: Path) -> None:
    name = free(tree)
    start(tree, name)
    start(tree, "zoological_observations", "--aggregate", "BirdOfParadiseSeen")
    run(tree, "-m", "ruff", "format", "--check", ".")
    run(tree, "-m", "ruff", "check", ".")
    run(tree, "manage.py", "makemigrations", "--check", "--dry-run")
    run(tree, "manage.py", "lock_schemas", "--check")
    contracts = "tests/architecture/test_imports.py::test_the_tree_keeps_every_contract"
    run(
        tree,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        contracts,
        f"tests/{name}",
        "tests/zoological_observations",
    )


@pytest.mark.nightly
@pytest.mark.timeout(5400)
def test_everything_passes_with_several_new_services(tree: Path) -> None:
    for name in ("payments", "categories", "addresses", "boxes", "billing", "a", "days", "credit_notes", "news"):
        start(tree, name)
    start(tree, "events", "--aggregate", "Happening")
    for form in (["format", "--check"], ["check"]):
        run(tree, "-m", "ruff", *form, ".")
    run(tree, "-m", "mypy")
    run(tree, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal")  # as `make test` does


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Payments"], "no name for a service"),
        (["class"], "no name for a service"),
        (["a__b"], "no name for a service"),
        (["ä"], "no name for a service"),
        (["../etc"], "no name for a service"),
        (["x" * 31], "at most 30 characters"),
        (["orders"], "is taken"),
        (["default"], "is taken"),
        (["auth"], "is taken"),
        (["support"], "is taken"),
        (["lists"], "would hide a name"),
        (["customers"], "would hide a name"),
        (["shops", "--aggregate", "Order"], "the category 'order' is another service's"),
        (["doors", "--aggregate", "Doc"], "/api/docs/ is there already"),
        (["shops", "--aggregate", "shop"], "no name for an aggregate"),
    ],
)
def test_other_names_are_refused_in_one_line(arguments: list[str], said: str, root: Path) -> None:
    before = sorted((root / "apps").iterdir())
    with pytest.raises(CommandError, match=said) as refused:
        call_command("startservice", *arguments)
    assert "\n" not in str(refused.value)
    assert sorted((root / "apps").iterdir()) == before


def test_a_list_too_long_for_a_line_goes_over_a_few(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    path = tmp_path / "config" / "settings.py"
    path.write_text('A = 1\nSERVICES = ["users", "orders"]\nB = 2\n')
    ruff = ("-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E501", ".")
    for number in range(24):
        path.write_text(settings_with(tmp_path, f"service_{number}")[1])
        run(tmp_path, *ruff)
    run(tmp_path, "-m", "ruff", "format", "--check", "--isolated", "--line-length", "120", ".")
    scope: dict[str, Any] = {}
    exec(path.read_text(), scope)
    assert scope["SERVICES"] == ["users", "orders", *[f"service_{number}" for number in range(24)]]
    assert path.read_text().count("\n") < 10


@pytest.mark.parametrize("place", [".importlinter", "config/settings.py"])
def test_a_list_that_was_rewritten_is_left_to_people(tree: Path, place: str) -> None:
    rewritten = (tree / place).read_text().replace("SERVICES = [", "SERVICES = [] + [")
    (tree / place).write_text(rewritten.replace(f" | {settings.SERVICES[-1]}\n", "\n"))
    before = sorted((tree / "apps").iterdir())
    with pytest.raises(AssertionError, match=r"by hand first|mend that first"):
        start(tree, free(tree))
    assert sorted((tree / "apps").iterdir()) == before


@pytest.mark.parametrize(
    ("many", "one"),
    [("payments", "payment"), ("categories", "category"), ("boxes", "box"), ("addresses", "address"), ("days", "day")],
)
def test_plural_and_singular(many: str, one: str) -> None:
    assert (singular(many), plural(one)) == (one, many)
