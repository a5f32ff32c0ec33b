"""The tutorial is followed as it is written, in a copy of the tree; then its process is killed again and again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import engine
from tests.support.pages import Block, Tree, blocks, stopping

pytestmark = [
    pytest.mark.django_db(databases=[]),
    pytest.mark.direct,
    pytest.mark.makes("payments"),
    pytest.mark.timeout(300),
]

PAGE = "docs/tutorial.md"
KILL = "from tests.journeys.payment_kills import kill; kill({times}, seed={times})"
DATABASES = "import json; from tools import postgres; print(json.dumps(postgres.databases({url!r}, {prefix!r})))"
BOUGHT = {"OrderPlaced OrderPaid PaymentRequested PaymentCaptured"}
BOUGHT |= {"OrderPlaced OrderPaid PaymentRequested CustomerReminded PaymentCaptured"}  # the reminder was faster
REMINDED = {"OrderPlaced PaymentRequested CustomerReminded"}


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Iterator[Tree]:
    with stopping(Tree(root, tmp_path / "tree", DEMO="1", DEMO_LOGIN="1")) as tree:
        yield tree


def use_engine(tree: Tree) -> None:
    """Let a tree use databases of its own in the PostgreSQL of this run, if that is its engine."""
    if engine.POSTGRES:
        tree.environment.pop("DB", None)  # or `make run` would start another one
        code = DATABASES.format(url=engine.URL, prefix=f"tutorial_{engine.WORKER}_{tree.path.parent.name}".lower())
        tree.environment |= json.loads(tree.run(f".venv/bin/python - <<'EOF'\n{code}\nEOF"))


@pytest.mark.parametrize(
    "leaving_out",
    [
        pytest.param("make check", marks=pytest.mark.sqlite, id="short"),
        pytest.param("", marks=[pytest.mark.nightly, pytest.mark.timeout(900)], id="all"),
    ],
)
def test_the_tutorial_works_as_it_is_written(tree: Tree, root: Path, leaving_out: str) -> None:
    del tree.environment["SECRET_KEY"], tree.environment["DEBUG"]  # `make run` writes them into .env

    def look(block: Block) -> None:
        if "startservice" in block.text:
            use_engine(tree)

    use_engine(tree)
    tree.follow(root / PAGE, look, leaving_out=leaving_out)


@pytest.mark.parametrize("times", [6, pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_under_kills_each_order_is_paid_once_and_each_payment_captured_once(tree: Tree, root: Path, times: int) -> None:
    written(tree, root)
    use_engine(tree)
    tree.manage("migrate", "-v0")
    tree.environment |= {"PROJECTIONS": "worker", "PAYMENT_DEADLINE": "off"}
    found = json.loads(tree.manage("shell", "-v0", "-c", KILL.format(times=times)).splitlines()[-1])
    bought, reminded = found["bought"], found["reminded"]
    assert found["set aside"] == []
    assert (set(bought) <= BOUGHT, set(reminded) <= REMINDED) == (True, True), found
    assert sum(bought.values()) + sum(reminded.values()) == found["orders"] == 2 * times


def written(tree: Tree, root: Path) -> None:
    """Write the code of the tutorial, without its tries."""
    tree.manage("startservice", "payments")
    code: list[Block] = [block for block in blocks(root / PAGE) if block.path != "server"]
    for block in code:
        if block.kind == "diff":
            if "formerly" in block.text:
                break
            tree.change(block)
        elif block.path:
            tree.write(block)
    tree.run("rm apps/payments/migrations/0*.py apps/payments/events.lock.json")
    tree.manage("makemigrations", "payments", "-n", "read_models")
