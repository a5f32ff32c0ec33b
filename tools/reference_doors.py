"""The page of the kernel's doors, made from the code: each public name with its signature and its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "apps" / "eventlog"
# In the order in which a service meets them.
DOORS = (
    *("events", "upcasting", "commands", "aggregates", "dispatch", "repository", "store", "reservations"),
    *("projectors", "reactors", "processes", "erasures", "snapshots", "registry", "failpoints"),
    # Of the API and the admin, what every service uses.
    *(
        "api/command_viewset",
        "api/command_serializer",
        "api/query_viewset",
        "api/documents",
        "api/filters",
        "api/access",
    ),
    *("admin/readonly", "admin/documents", "admin/readers", "admin/actions"),
)
# What a door passes on from the room behind it.
PASSED_ON = {
    "store": {
        "log/records.py": ("Appended", "Expected", "WrongExpectedVersion", "EventIdTaken"),
        "log/places.py": ("LogWentBack",),
        "log/queries.py": ("Conditions",),
    }
}
INTRODUCTION = """# The doors of the kernel

A service may import these modules and no others of `apps/eventlog/`, beside `api/` and `admin/`. This page is made
from their docstrings by `make reference`; [the map](../index.md#the-doors-of-the-kernel) says in a line what each is
for. The models of `apps/eventlog/models.py` that a service subclasses are `Checkpoint` and `DeadLetter`. The last
sections are what every service uses of `api/` and `admin/`.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    return "\n".join([INTRODUCTION, *(line for door in DOORS for line in _door(door))]) + "\n"


def _door(name: str) -> Iterator[str]:
    module = ast.parse((KERNEL / f"{name}.py").read_text())
    yield f"## {name}\n"
    yield f"{ast.get_docstring(module)}\n"
    for node in module.body:
        yield from _entry(node)
    for path, names in PASSED_ON.get(name, {}).items():
        for node in ast.parse((KERNEL / path).read_text()).body:
            if getattr(node, "name", None) in names:
                yield from _entry(node)


def _entry(node: ast.stmt) -> Iterator[str]:
    """What the page says of a statement of a module: something if it defines a public name."""
    if isinstance(node, Function) and not node.name.startswith("_"):
        yield _described(_signature(node), node)
    elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        lines = [f"class {node.name}({bases})" if bases else f"class {node.name}", *_members(node)]
        yield _described("\n".join(lines), node)
        for method in node.body:
            if isinstance(method, Function) and _is_shown(method) and ast.get_docstring(method):
                yield f"- `{method.name}`: {_on_one_line(ast.get_docstring(method) or '')}"
        yield ""


def _described(code: str, node: Function | ast.ClassDef) -> str:
    docstring = ast.get_docstring(node)
    return f"### {node.name}\n\n```python\n{code}\n```\n" + (f"\n{docstring}\n" if docstring else "")


def _members(node: ast.ClassDef) -> Iterator[str]:
    """The declared fields of a class, and the signatures of its methods."""
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
            begins = f" = {ast.unparse(member.value)}" if isinstance(member.value, ast.Constant | ast.Tuple) else ""
            yield f"    {ast.unparse(member.target)}: {ast.unparse(member.annotation)}{begins}"
        elif isinstance(member, Function) and (_is_shown(member) or member.name == "__init__"):
            marks = [ast.unparse(mark) for mark in member.decorator_list]
            kept = [f"@{mark} " for mark in marks if mark in ("property", "classmethod", "staticmethod")]
            yield f"    {''.join(kept)}{_signature(member)}"


def _is_shown(method: Function) -> bool:
    return not method.name.startswith("_")


def _signature(node: Function) -> str:
    arguments = ast.unparse(node.args)
    for own in ("self, ", "cls, ", "self", "cls"):
        if arguments.startswith(own) and (len(own) > 4 or arguments in ("self", "cls")):
            arguments = arguments.removeprefix(own)
            break
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({arguments}){returns}"


def _on_one_line(docstring: str) -> str:
    return " ".join(docstring.split())
