"""The page of the API, made from its OpenAPI schema: every route, with an example of each command."""

import json
from collections.abc import Iterator
from typing import Any

from drf_spectacular.generators import SchemaGenerator

INTRODUCTION = """# The API

Commands are `POST`, queries are `GET`. This page is made from the OpenAPI schema by `make reference`; a running server
shows the schema at `/api/schema/` and has pages to try it at `/api/docs/`. Where the examples say `$api` and `$token`:

```
api=http://127.0.0.1:8000/api
token=$(curl -sS $api/auth/login/ -H 'Content-Type: application/json' -d '{"username": "admin", "password": "admin"}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
```

- A command answers `201` and `Location` if it has made something, else `202`: `{"id", "version", "position"}`.
  It takes `Idempotency-Key`, and `If-Match: "<version>"` if it is about something that is there.
- A query takes `Min-Event-Position: <position>`: it answers when its rows show that event, or `503`. Lists are
  `{"results", "next", "previous"}`, and take `limit` and `cursor`.
- Every problem is `application/problem+json`.

"""
METHODS = ("get", "post", "put", "patch", "delete")
COMMON = {"limit", "cursor"}
Operation = dict[str, Any]


def page() -> str:
    generator: Any = SchemaGenerator
    schema: dict[str, Any] = generator().get_schema(public=True)
    return INTRODUCTION + "\n".join(
        line
        for path, operations in sorted(schema["paths"].items())
        for method in METHODS
        if method in operations
        for line in _route(path, method, operations[method])
    )


def _route(path: str, method: str, operation: Operation) -> Iterator[str]:
    yield f"## {method.upper()} {path.replace('{', '<').replace('}', '>').replace('<', '&lt;').replace('>', '&gt;')}\n"
    if said := operation.get("summary") or operation.get("description"):
        yield f"{said.strip()}\n"
    if asked := [
        each for each in operation.get("parameters", []) if each["in"] == "query" and each["name"] not in COMMON
    ]:
        yield f"Parameters: {', '.join(_parameter(each) for each in asked)}.\n"
    if method != "get":
        yield f"```\n{_curl(path, method, operation)}\n```\n"
    yield f"Answers {', '.join(_statuses(operation))}.\n"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    values = schema.get("enum") or schema.get("items", {}).get("enum")
    return f"`{parameter['name']}`" + (f" ({', '.join(f'`{value}`' for value in values)})" if values else "")


def _statuses(operation: Operation) -> list[str]:
    return [f"`{status}`" for status in sorted(operation["responses"])]


def _curl(path: str, method: str, operation: Operation) -> str:
    """The request of a command, with the example of its body."""
    verb = "" if method == "post" else f" -X {method.upper()}"
    url = path.removeprefix("/api").replace("{", "$").replace("}", "")
    body = json.dumps(_example(operation), ensure_ascii=False)
    return f"""curl{verb} "$api{url}" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \\
    -d '{body}'"""


def _example(operation: Operation) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in content.get("examples", {}).values():
        return example["value"]
    return {}
