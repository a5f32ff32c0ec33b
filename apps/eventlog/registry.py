"""Classes by the names that they go by, each name once.

Two projectors of one name would share a checkpoint, and one of two events of one type would never be read. So the
second class is refused where it is made, which is when the application starts.
"""

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)

# What may stand between the statement that makes a class and the registry.
_FUNCTIONS, _MODULES = ("__init_subclass__", "add", "_statement"), ("abc", "dataclasses", "types")


class DuplicateName(TypeError):
    """Two classes go by one name. The message says where each of them is."""


class Registry(dict[str, Kind]):
    """Classes by name. `beside` are registries that share one set of names with this one; `remedy` is the way out."""

    def __init__(self, what: str, beside: "Sequence[Registry[Any]]" = (), remedy: str = "Rename one of them") -> None:
        super().__init__()
        self.what, self.beside, self.remedy = what, beside, remedy
        self.statements: dict[str, str] = {}

    def add(self, name: str, kind: Kind) -> None:
        """Enter a class. Raises `DuplicateName` if another one has the name.

        The same class may come again: its module was loaded again, or `dataclass(slots=True)` has made a second class
        of it.
        """
        if _is_again(self.get(name), kind):
            self[name] = kind
            return
        here = _statement()
        for registry in (self, *self.beside):
            known = registry.get(name)
            there = registry.statements.get(name, "")
            if known is not None and (there != here or registry is not self):
                raise DuplicateName(
                    f"two {self.what} are named {name}: {_called(known)} ({there or 'made by hand'}) and "
                    f"{_called(kind)} ({here}). {self.remedy}"
                )
        self[name] = kind
        self.statements[name] = here


def _is_again(known: type | None, kind: type) -> bool:
    """Has `dataclass(slots=True)` made this class of that one? It copies everything, the list of the fields too."""
    fields = vars(kind).get("__dataclass_fields__")
    return known is not None and fields is not None and fields is vars(known).get("__dataclass_fields__")


def _called(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _statement() -> str:
    """The file and the line of the statement that makes the class."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (there is no other way to the caller's line)
    while frame and (frame.f_code.co_name in _FUNCTIONS or frame.f_globals.get("__name__") in _MODULES):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
