"""The names of enumerations in the schema.

drf-spectacular names them for their fields. If services have fields of one name with different choices (`status`), it
adds the component, as in `OrderStatusEnum`. But it invents a name if two of these services happen to have the same
choices, as services have that `startservice` has just made.
"""

from collections import defaultdict
from typing import Any

MARK = "x-spec-enum-id"  # by which drf-spectacular knows equal choices


def tell_apart(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """Give each component choices of its own where fields of one name have different ones. Called before the naming."""
    fields: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for component, schema in result.get("components", {}).get("schemas", {}).items():
        for name, field in schema.get("properties", {}).items():
            if isinstance(field, dict) and MARK in field:
                fields[name].append((component, field))
    for found in fields.values():
        if len({field[MARK] for _, field in found}) > 1:
            for component, field in found:
                field[MARK] = f"{field[MARK]} of {component}"
    return result
