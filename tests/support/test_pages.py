"""The page of the test kit is followed: tests of a stranger run with pytest, and with `manage.py test`."""

from pathlib import Path

import pytest

from tests.support.pages import Tree

PAGE = "docs/reference/test-kit.md"

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(databases=[]), pytest.mark.timeout(300)]


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Tree:
    return Tree(root, tmp_path / "tree")


def test_a_strangers_tests_run_both_ways(tree: Tree, root: Path) -> None:
    tree.follow(root / PAGE)


@pytest.mark.nightly
def test_a_strangers_tests_run_in_parallel(tree: Tree, root: Path) -> None:
    tree.follow(root / PAGE, leaving_out="pytest|manage")
    tree.run(".venv/bin/python -m pytest -q -p no:randomly -n 2 tests/shop")
    tree.run(".venv/bin/python manage.py test tests.shop --parallel 2")
