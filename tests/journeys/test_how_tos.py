"""The how-tos about change are followed as they are written, in a copy of the tree with a log of its own."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.pages import Block, Tree, changed, changes, expect

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(databases=[]), pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LONG = r"make check|pytest"  # what the short form leaves out; `make nightly` does it
forms = pytest.mark.parametrize(
    "leaving_out", [LONG, pytest.param("", marks=pytest.mark.nightly)], ids=["short", "all"]
)
HISTORY = """
from tests.support.history import make_history
make_history()
"""
PAYMENT = """
from uuid import uuid4
from apps.eventlog.dispatch import dispatch
from apps.payments.write.commands import ClosePayment, OpenPayment
payment = uuid4()
dispatch(OpenPayment(payment, uuid4(), "the first"))
dispatch(ClosePayment(payment, "done"))
"""
BY_TYPE = """
from collections import Counter
from apps.eventlog import store
every = list(store.read_all(types={types!r}))
print(sorted(Counter((each.stored_type, each.type, type(each.event).__name__) for each in every).items()))
"""
PLACE = """
from decimal import Decimal
from uuid import uuid4
from apps.eventlog.dispatch import dispatch
from apps.orders.events import OrderLine
from apps.orders.models import Order
from apps.orders.write.commands import PlaceOrder
from apps.users.write.commands import RegisterUser
ann, order = uuid4(), uuid4()
dispatch(RegisterUser(ann, f"{ann}@example.org", "Ann"))
dispatch(PlaceOrder(order, ann, "EUR", (OrderLine("A-1", 7, Decimal(1)),)))
print(Order.objects.values().get(pk=order))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases with some history in the log."""
    tree = Tree(ROOT, tmp_path_factory.mktemp("first") / "tree")
    tree.manage("migrate", "-v0")
    shell(tree, HISTORY)
    return tree.path / "var"


@pytest.fixture
def tree(data: Path, tmp_path: Path) -> Tree:
    tree = Tree(ROOT, tmp_path / "tree", PROJECTIONS="inline")
    shutil.copytree(data, tree.path / "var")
    return tree


def shell(tree: Tree, code: str) -> str:
    return tree.manage("shell", "-v0", "-c", code)


@pytest.mark.makes("payments", "billing")
@forms
def test_change_an_event(tree: Tree, leaving_out: str) -> None:
    cancelled = shell(tree, BY_TYPE.format(types=["orders.OrderCancelled"]))

    def look(block: Block) -> None:
        if "startservice" in block.text:
            shell(tree, PAYMENT)

    tree.follow(ROOT / "docs/how-to/change-an-event.md", look, leaving_out=leaving_out)
    tree.run(".venv/bin/python manage.py lock_schemas --check && .venv/bin/lint-imports")
    renamed = "'orders.OrderCancelled', 'orders.OrderAnnulled', 'OrderAnnulled'"
    assert cancelled.count("orders.OrderCancelled") == 2
    assert shell(tree, BY_TYPE.format(types=["orders.OrderCancelled"])).count(renamed) == 1
    moved = shell(tree, BY_TYPE.format(types=["billing.PaymentOpened", "payments.PaymentClosed"]))
    assert moved.count("('payments.PaymentOpened', 'billing.PaymentOpened', 'PaymentOpened'), 1)") == 1
    assert moved.count("('payments.PaymentClosed', 'billing.PaymentClosed', 'PaymentClosed'), 1)") == 1
    if not leaving_out:
        tree.run(".venv/bin/python -m pytest -q -p no:cacheprovider tests/billing tests/orders/test_events.py")
    rows = "from apps.billing.models import Payment; print(Payment.objects.values_list('title', 'status').get())"
    assert "('the first', 'closed')" in shell(tree, rows)


@forms
def test_change_a_read_model(tree: Tree, leaving_out: str, tmp_path: Path) -> None:
    older = Tree(ROOT, tmp_path / "older", DATA_DIR=str(tree.path / "var"))
    seen: list[str] = []

    def look(block: Block) -> None:
        if "-n pieces" in block.text:  # migrated, and the old code goes on
            seen.append(shell(older, PLACE))
            seen.append(shell(tree, "from apps.orders.models import Order; print(Order.objects.first().pieces)"))
        if "replay_events --projector OrderProjector" in block.text:
            seen.append(shell(tree, "from apps.orders.models import Order; print(Order.objects.first().pieces)"))

    tree.follow(ROOT / "docs/how-to/change-a-read-model.md", look, leaving_out=leaving_out)
    assert [each.strip() for each in seen[1:]] == ["0", "7"]
    tree.run(".venv/bin/python manage.py makemigrations --check --dry-run && .venv/bin/lint-imports")
    tree.run(".venv/bin/python manage.py replay_events --verify --no-progress")
    tables = "from django.db import connections; print(connections['orders'].introspection.table_names())"
    assert "orders_shipment" in shell(tree, tables)
    assert "orders_sale'" not in shell(tree, tables)


@pytest.mark.makes("payments")
@forms
def test_remove_a_service(tree: Tree, leaving_out: str) -> None:
    def look(block: Block) -> None:
        if "startservice" in block.text:
            shell(tree, PAYMENT)

    tree.follow(ROOT / "docs/how-to/remove-a-service.md", look, leaving_out=leaving_out)
    assert list(changes(ROOT, tree.path)) == []
    listed = tree.manage("replay_events", "--list", "--type", "payments.PaymentOpened")
    assert "payments.PaymentOpened" in listed
    tree.manage("replay_events", "--verify", "--no-progress")


def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="there 0 times"):
        changed("a\nb\n", " a\n-c\n")
    with pytest.raises(AssertionError, match="there 2 times"):
        changed("a\na\n", "-a\n+b\n")
    assert changed("a\nb\nc\n", " b\n+x\n@@\n+d\n") == "a\nb\nx\nc\nd\n"
    expect("one\n...\nthree... 3\n", "one\ntwo\nthree is 3\n")
    for missing in ("four", "two\none"):
        with pytest.raises(AssertionError, match="no line"):
            expect(missing, "one\ntwo\n")
    with pytest.raises(AssertionError, match="exit"):
        Tree(ROOT, tmp_path / "tree").run("false | cat; echo 'exit'")


BROUGHT = """
import json
from apps.eventlog import store
from apps.contracts.models import Contract
from apps.users.models import User
users = {user.name: [str(user.pk), user.email, user.status, user.version] for user in User.objects.all()}
contracts = sorted([c.title, c.status, c.opened_at.isoformat(), str(c.customer_id)] for c in Contract.objects.all())
happened = [each.type.partition(".")[2] for each in store.read_stream(f"user-{users['Ben Ström'][0]}")]
first = next(store.read_all(types=["users.UserRegistered"]))
stored = any(b"Str" in each.stored_data for each in store.read_all(encrypted=True, types=["users.UserRegistered"]))
print(json.dumps([users, contracts, happened, first.recorded_at.isoformat(), stored]))
"""
LOGIN = """
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.test import Client
User.objects.create(username={user!r}, password=make_password("tea for two"), is_active=True)
body = {{"username": "ann.wood@example.org", "password": "tea for two"}}
print(Client().post("/api/auth/login/", body, content_type="application/json").status_code)
"""
GO_ON = """
from apps.contracts.models import Contract
from apps.contracts.write.commands import CloseContract
from apps.eventlog.dispatch import dispatch
contract = Contract.objects.get(title="Tea, monthly")
dispatch(CloseContract(contract.pk, "enough tea"))
print(Contract.objects.get(pk=contract.pk).status)
"""


@forms
def test_bring_history(leaving_out: str, tmp_path: Path) -> None:
    """`old_shop/` has what `dumpdata` wrote of two small applications, one with django-simple-history 3.13.0."""
    tree = Tree(ROOT, tmp_path / "tree", PROJECTIONS="inline")
    for name in ("customers.json", "contracts.json"):
        shutil.copy(ROOT / "tests/journeys/old_shop" / name, tree.path)
    tree.follow(ROOT / "docs/how-to/bring-history.md", leaving_out=leaving_out)
    users, contracts, happened, first, stored = json.loads(shell(tree, BROUGHT).splitlines()[-1])
    assert {name: row[1:] for name, row in users.items()} == {
        "Ann Wood": ["ann.wood@example.org", "active", 4],
        "Ben Ström": ["ben@example.net", "active", 4],
        "Daniel": ["dan@example.org", "inactive", 3],  # renamed by queryset.update()
        "Eve": ["eve@example.org", "active", 1],  # made by bulk_create()
    }  # and not Cem, who was deleted
    assert happened == ["UserRegistered", "UserDeactivated", "UserEmailChanged", "UserReactivated"]
    assert (first, stored) == ("2023-03-02T09:00:00.500000+00:00", False)
    ann, ben = users["Ann Wood"][0], users["Ben Ström"][0]
    assert contracts == [
        ["Cups", "closed", "2023-04-10T09:00:00+00:00", ben],
        ["Kettle ☕", "open", "2023-05-10T09:00:00+00:00", ann],
        ["Tea, monthly", "open", "2023-03-01T09:00:00+00:00", ann],
    ]
    assert shell(tree, GO_ON).split()[-1] == "closed"
    assert shell(tree, LOGIN.format(user=ann)).split()[-1] == "200"
    tree.run(".venv/bin/python manage.py replay_events --verify --no-progress && .venv/bin/lint-imports")
