"""Turn old payloads into current ones when they are read; the log itself never changes."""

from collections.abc import Callable, Sequence
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_upcasters: dict[tuple[str, int], Upcaster] = {}


def upcasts(event_type: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function that turns a payload of `from_version` into one of the next version.

    Raises TypeError if another function does that.
    """

    def register(upcaster: Upcaster) -> Upcaster:
        known = _upcasters.get((event_type, from_version))
        if known is not None and _place(known) != _place(upcaster):
            raise TypeError(
                f"version {from_version} of {event_type} has two upcasters: {_place(known)} and {_place(upcaster)}"
            )
        _upcasters[event_type, from_version] = upcaster
        return upcaster

    return register


def _place(upcaster: Any) -> str:
    """The file and the line of a function. A module that is loaded again has the same ones."""
    return f"{upcaster.__code__.co_filename}:{upcaster.__code__.co_firstlineno}"


def upcast(
    event_type: str, from_version: int, to_version: int, data: dict[str, Any], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Bring a payload of `from_version` to `to_version`; raises KeyError if a step is missing.

    `event_type` is the type that the log has, and `names` are all that the event goes by. A step that is registered for
    the stored type comes before one for another name.
    """
    for version in range(from_version, to_version):
        data = _upcasters[_registered(version, (event_type, *names)) or (event_type, version)](data)
    return data


def _registered(version: int, names: Sequence[str]) -> tuple[str, int] | None:
    return next(((name, version) for name in names if (name, version) in _upcasters), None)


def missing(names: Sequence[str], version: int) -> list[int]:
    """The versions below a given one that have no upcaster to the next version, under any name of the event."""
    return [before for before in range(1, version) if _registered(before, names) is None]
