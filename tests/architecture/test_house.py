"""The house rules that imports cannot show; each guard is also shown to find a planted fault."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import router
from django.db.models import DO_NOTHING, BooleanField, ForeignKey, Model
from django.test.utils import isolate_apps

from apps.eventlog.models import StoredEvent

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE, SHORTEST_FILE = 400, 20  # lines
LONGEST_FUNCTION, MEDIAN_FUNCTION = 30, 6  # lines
DJANGOS_OWN = {"apps.py", "urls.py"}  # and each management command, which must be a file of its own
BACKENDS = [ROOT / "apps/eventlog/database" / name for name in ("pooled", "sqlite")]  # Django looks for base.py
VAGUE_NAMES = {"utils", "base", "core", "common", "services"}
EVENT_TABLE = ("StoredEvent", "eventlog_event")
TABLE_ROOMS = ["log", "admin", "models.py"]  # under apps/eventlog, beside the migrations
SIGNALS = {"pre_save", "post_save", "pre_delete", "post_delete"}

Guard = Callable[[str], list[str]]


def files(*folders: str) -> Iterator[Path]:
    """The Python files of these top folders; generated migrations are nobody's style."""
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in path.parts)


def faults(guard: Guard, paths: Iterable[Path]) -> list[str]:
    """What a guard finds in these files, each with the file's name."""
    return [f"{path.relative_to(ROOT)}: {fault}" for path in paths for fault in guard(path.read_text())]


def too_long(source: str) -> list[str]:
    size = len(source.splitlines())
    return [f"{size} lines"] if size > LONGEST_FILE else []


def too_short(source: str) -> list[str]:
    """An idea so small belongs with the idea that it serves."""
    size = len(source.splitlines())
    return [f"{size} lines"] if 0 < size < SHORTEST_FILE else []


def not_empty(source: str) -> list[str]:
    return ["not empty"] if source else []


def long_functions(source: str) -> list[str]:
    """Functions over the cap, from `def` to the end; a docstring does not count."""
    return [f"{name} has {size} lines" for name, size in function_sizes(source) if size > LONGEST_FUNCTION]


def function_sizes(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.end_lineno is None:
            continue
        size = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node) is not None:
            size -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
        yield node.name, size


def word(node: ast.AST) -> str:
    """The last word of a name: `atomic` of both `atomic` and `transaction.atomic`."""
    return str(getattr(node, "attr", None) or getattr(node, "id", ""))


def bare_transactions(source: str) -> list[str]:
    """Every use of `on_commit` and `atomic`, as a call or a bare decorator, that does not pass `using=`."""
    nodes = list(ast.walk(ast.parse(source)))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    named = [call.func for call in calls if any(keyword.arg == "using" for keyword in call.keywords)]
    return [
        f"line {node.lineno}: {word(node)} without using="
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and node not in named
        if word(node) in {"on_commit", "atomic"}
    ]


def nameless_events(source: str) -> list[str]:
    """Events named for a row that changed, where the business has a word for what happened."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Updated")
        if any(word(parent) == "DomainEvent" for parent in node.bases)
    ]


def model_signals(source: str) -> list[str]:
    nodes = list(ast.walk(ast.parse(source)))
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return sorted(SIGNALS & (imported | {word(node) for node in nodes}))


def event_table(source: str) -> list[str]:
    """Names of the event table and of its model, also in a text: everybody else asks the store."""
    nodes = list(ast.walk(ast.parse(source)))
    words = [(node.lineno, word(node)) for node in nodes if isinstance(node, ast.Name | ast.Attribute)]
    words += [(node.lineno, node.name) for node in nodes if isinstance(node, ast.alias)]
    words += [(node.lineno, str(node.value)) for node in nodes if isinstance(node, ast.Constant)]
    table = re.compile(rf"\b({'|'.join(EVENT_TABLE)})\b", re.IGNORECASE)
    return [f"line {line}: {found[0]}" for line, text in words if (found := table.search(text))]


def strangers() -> list[Path]:
    """The files of the apps that may not touch the event table."""
    kernel = ROOT / "apps/eventlog"
    return [path for path in files("apps") if not any(path.is_relative_to(kernel / room) for room in TABLE_ROOMS)]


def vague_names(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths if VAGUE_NAMES & {part.removesuffix(".py") for part in path.parts}]


def rooms(service: Path) -> set[str]:
    """The files and folders of a service; it may do without reactors, commands and pages of its own."""
    optional = {"reactors.py", "management", "templates", "static", "__pycache__"}
    return {entry.name for entry in service.iterdir()} - optional


def crossings(models: Iterable[type[Model]]) -> list[str]:
    """Relations whose two ends live in different databases."""
    return [
        f"{model._meta.label}.{field.name}"
        for model in models
        for field in model._meta.get_fields(include_hidden=True)
        if field.is_relation and isinstance(field.related_model, type)
        if router.db_for_write(model) != router.db_for_write(field.related_model)
    ]


def indefinite(decider: Any) -> list[str]:
    """What a router leaves open: models without an alias, `allow_migrate` that is neither True nor False."""
    ways = [getattr(decider, name) for name in ("db_for_read", "db_for_write")]
    unplaced = [m._meta.label for m in apps.get_models() if {way(m) for way in ways} - set(settings.DATABASES)]
    asked = product(settings.DATABASES, [config.label for config in apps.get_app_configs()])
    vague = [f"{label} in {db}" for db, label in asked if not isinstance(decider.allow_migrate(db, label), bool)]
    return unplaced + vague


def progress_fields(model: type[Model]) -> list[str]:
    """Progress belongs to the reader: an event does not know who has seen it."""
    return [field.name for field in model._meta.get_fields() if "processed" in field.name]


def planted_model(app_label: str, **fields: Any) -> type[Model]:
    """A model that only an isolated registry knows."""
    meta = type("Meta", (), {"app_label": app_label})
    return type("Planted", (Model,), {"__module__": __name__, "Meta": meta, **fields})


GUARDED: list[tuple[Guard, list[Path]]] = [
    (too_long, [*files("apps", "config")]),
    (
        too_short,
        [path for path in files("apps/eventlog") if path.name not in DJANGOS_OWN and "commands" not in path.parts],
    ),
    (not_empty, [*ROOT.glob("apps/**/__init__.py"), *ROOT.glob("config/**/__init__.py")]),
    (long_functions, [*files("apps", "config")]),
    (bare_transactions, [*files("apps", "config", "examples", "tools"), *ROOT.glob("apps/*/migrations/*.py")]),
    (nameless_events, [*files("apps")]),
    (model_signals, [*files("apps", "config")]),
    (event_table, strangers()),
]

PLANTED: dict[str, tuple[Guard, str]] = {
    "a file of 401 lines": (too_long, "\n" * 401),
    "a file of 19 lines": (too_short, "\n" * 19),
    "code in an __init__.py": (not_empty, "from apps.users import events\n"),
    "a function of 31 lines": (long_functions, "def long():\n    'Short.'\n" + "    pass\n" * 30),
    "a method of 31 lines": (long_functions, "class Of:\n    async def long(self):\n" + "        pass\n" * 30),
    "a bare on_commit": (bare_transactions, "transaction.on_commit(announce)"),
    "an on_commit whose callback has the using": (bare_transactions, "on_commit(lambda: announce(using='orders'))"),
    "a bare atomic block": (bare_transactions, "with transaction.atomic(): pass"),
    "a bare atomic decorator": (bare_transactions, "@transaction.atomic\ndef place(): pass"),
    "an atomic decorator without using": (bare_transactions, "@atomic(durable=True)\ndef place(): pass"),
    "atomic handed on": (bare_transactions, "method_decorator(transaction.atomic)"),
    "an event named Updated": (nameless_events, "class OrderUpdated(DomainEvent): pass"),
    "an imported signal": (model_signals, "from django.db.models.signals import post_save"),
    "the model of the event table": (event_table, "from apps.eventlog.models import Import, StoredEvent"),
    "the model by its module": (event_table, "models.StoredEvent.objects.count()"),
    "the model by its name": (event_table, "apps.get_model('eventlog', 'storedevent')"),
    "the event table in a statement": (event_table, "run('DELETE FROM eventlog_event')"),
    "the event table in a formatted statement": (event_table, "run(f'SELECT {column} FROM eventlog_event')"),
    "a signal by its module": (model_signals, "signals.pre_save.connect(project)"),
}


@pytest.mark.parametrize(("guard", "paths"), GUARDED, ids=[guard.__name__ for guard, _ in GUARDED])
def test_the_tree_passes_its_guards(guard: Guard, paths: list[Path]) -> None:
    assert paths
    assert faults(guard, paths) == []


@pytest.mark.parametrize(("guard", "source"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(guard: Guard, source: str) -> None:
    assert len(guard(source)) == 1


def test_every_guard_has_a_planted_fault() -> None:
    assert {guard for guard, _ in PLANTED.values()} == {guard for guard, _ in GUARDED}


def test_a_function_of_thirty_lines_and_its_docstring_pass() -> None:
    assert long_functions("def brief():\n    '''Of\n    some words.'''\n" + "    pass\n" * 29) == []


def test_a_transaction_that_names_its_database_passes() -> None:
    assert bare_transactions("with transaction.atomic(using='orders'): on_commit(announce, using='orders')") == []


def test_half_of_the_functions_are_short() -> None:
    sizes = [size for path in files("apps") for _, size in function_sizes(path.read_text())]
    assert median(sizes) <= MEDIAN_FUNCTION


def test_no_name_is_vague() -> None:
    named = [path.relative_to(ROOT) for path in ROOT.glob("apps/**/*") if path.parent not in BACKENDS]
    assert vague_names(named) == []


@pytest.mark.parametrize("name", ["apps/users/utils.py", "apps/orders/core/money.py", "apps/common"])
def test_a_vague_name_is_found(name: str) -> None:
    assert vague_names([Path(name), Path("apps/orders/models.py")]) == [name]


def test_every_service_has_the_same_rooms() -> None:
    first, *others = [rooms(ROOT / "apps" / service) for service in settings.SERVICES]
    assert all(other == first for other in others)


def test_a_stray_room_is_found_and_reactors_are_optional(tmp_path: Path) -> None:
    for room in ("users/models.py", "users/reactors.py", "orders/models.py"):
        (tmp_path / room).mkdir(parents=True)
    assert rooms(tmp_path / "users") == rooms(tmp_path / "orders")
    (tmp_path / "orders" / "helpers.py").touch()
    assert rooms(tmp_path / "users") != rooms(tmp_path / "orders")


def not_processes(app: Path) -> list[str]:
    """The files among the processes that hold none; each holds a class derived from `Process`."""
    files = [path for path in app.glob("*.py") if path.stem not in ("__init__", "admin", "apps", "models")]
    return [path.name for path in files if not re.search(r"^class \w+\(Process\):$", path.read_text(), re.MULTILINE)]


def test_every_file_among_the_processes_holds_one() -> None:
    assert not_processes(ROOT / "apps" / settings.PROCESSES) == []


def test_a_stray_file_among_the_processes_is_found(tmp_path: Path) -> None:
    (tmp_path / "refund.py").write_text("class Refund(Process):\n")
    (tmp_path / "helpers.py").write_text("class Helper:\n")
    assert not_processes(tmp_path) == ["helpers.py"]


def test_no_relation_crosses_databases() -> None:
    assert crossings(apps.get_models(include_auto_created=True)) == []


@isolate_apps("apps.users", "apps.orders")
def test_a_relation_that_crosses_databases_is_found() -> None:
    buyer = ForeignKey(planted_model("users"), DO_NOTHING, related_name="+")
    parent = ForeignKey("self", DO_NOTHING, related_name="+")
    assert crossings([planted_model("orders", buyer=buyer, parent=parent)]) == ["orders.Planted.buyer"]


def test_the_router_is_definite() -> None:
    assert [fault for decider in router.routers for fault in indefinite(decider)] == []


def test_an_app_migrates_in_one_database_which_is_its_own() -> None:
    for config in apps.get_app_configs():
        homes = [alias for alias in settings.DATABASES if router.allow_migrate(alias, config.label)]
        assert homes == [config.label if config.label in settings.OWN_DATABASES else "default"]


def test_a_router_that_shrugs_is_found() -> None:
    class Shrug:
        def db_for_read(self, model: type[Model]) -> str | None:
            return None if model._meta.label == "orders.Order" else "default"

        db_for_write = db_for_read

        def allow_migrate(self, db: str, app_label: str) -> bool | None:
            return None if (db, app_label) == ("users", "orders") else True

    assert indefinite(Shrug()) == ["orders.Order", "orders in users"]


def test_an_event_does_not_know_who_has_processed_it() -> None:
    assert progress_fields(StoredEvent) == []


@isolate_apps("apps.eventlog")
def test_a_progress_field_is_found() -> None:
    assert progress_fields(planted_model("eventlog", is_processed=BooleanField())) == ["is_processed"]
