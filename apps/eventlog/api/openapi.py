"""The API's OpenAPI schema: its commands and queries, their headers, and the problems that they answer."""

import re
from typing import Any

from drf_spectacular.contrib.django_filters import DjangoFilterExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_doc
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from apps.eventlog.api.access import declared
from apps.eventlog.api.command_serializer import CommandSerializer
from apps.eventlog.api.openapi_headers import AS_OF, AT_VERSION, CHALLENGE, CREATED, KNOWN, ONCE, VERSION, WAIT, WHERE
from apps.eventlog.api.openapi_problems import MEANS, ProblemSerializer
from apps.eventlog.api.problems import CONTENT_TYPE

TEXT = r"^[^\x00]*[^\s\x00\x1c-\x1f\x85][^\x00]*$"  # at least one visible character, and no NUL
BREAK = re.compile(r"[.;:](?: |$)|, | \(")
SHARED = {
    "list": "List {}",
    "retrieve": "Show one of the {}",
    "history": "List the events of one of the {}",
}
ALWAYS = {400, 401, 406, 503}
OF_A_BODY = {413, 415}
OF_A_COMMAND = {409, 412, 422, 429}


class ApiSchema(AutoSchema):
    """One operation of the API.

    A view may name further problems that its actions answer: `problems = {action: (status, ...)}`.
    """

    view: Any

    @property
    def is_command(self) -> bool:
        return self.method == "POST" and getattr(self.view, "sends_commands", False)

    @property
    def is_query(self) -> bool:
        return self.method == "GET"

    @property
    def is_detail(self) -> bool:
        return "{" in self.path

    def get_tags(self) -> list[str]:
        """The resource, and nothing else: generators of clients make a class of each tag."""
        return super().get_tags()[:1]

    def get_extensions(self) -> dict[str, Any]:
        side = "command" if self.is_command else "query" if self.is_query else ""
        return {"x-side": side} if side else {}

    def get_summary(self) -> str:
        """What it is called in a list: the beginning of its description, unless many resources share that."""
        if self.is_query and self.view.action in SHARED:
            return SHARED[self.view.action].format(self.get_tags()[0])
        return BREAK.split(" ".join(self.get_description().split()), maxsplit=1)[0]

    def get_operation_id(self) -> str:
        return f"{super().get_tags()[0]}_{self.view.action}"

    def get_override_parameters(self) -> list[Any]:
        found = [WAIT, CHALLENGE]
        if self.is_command:
            found += [ONCE, WHERE, AT_VERSION if self.is_detail else CREATED]
        if self.is_query:
            found.append(AS_OF)
        if self.is_query and self.view.action == "retrieve":
            changes_alone = not getattr(self.view.serializer_class, "shows_other_streams", False)
            found += [VERSION, KNOWN] if changes_alone else [VERSION]
        return found

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if KNOWN in self.get_override_parameters():
            unchanged = OpenApiResponse(description="the document is still at the version that you have")
            bodies["304"] = self._get_response_for_code(unchanged, "304", direction=direction)
        for status in sorted(self._problems()):
            answer = OpenApiResponse(ProblemSerializer, MEANS[status])
            bodies[str(status)] = self._get_response_for_code(answer, str(status), [CONTENT_TYPE], direction)
        return bodies

    def _problems(self) -> set[int]:
        found = ALWAYS | set(getattr(self.view, "problems", {}).get(self.view.action, ()))
        found |= OF_A_BODY if self.method == "POST" else set()
        found |= OF_A_COMMAND if self.is_command else set()
        found |= {404} if self.is_detail else set()
        return found if self.is_public and not self.is_command else found | {403}

    @property
    def is_public(self) -> bool:
        access = declared(self.view, self.view.action)
        return access is not None and access.anyone

    def get_auth(self) -> list[dict[str, Any]]:
        return [*super().get_auth(), *([{}] if self.is_public else [])]

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> dict[str, Any]:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)
        if direction == "request" and type(field) is serializers.CharField and not field.allow_blank:
            # DRF trims before it counts.
            schema = {"minLength": 1, "pattern": TEXT if field.trim_whitespace else r"^[^\x00]*$"} | schema
        if isinstance(field, serializers.ListSerializer):
            bounds = {"minItems": field.min_length, "maxItems": field.max_length}  # type: ignore[attr-defined]
            schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        return schema

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        if not type(serializer).__doc__:  # that of its base, which says how to write a serializer
            schema.pop("description", None)
        if isinstance(serializer, CommandSerializer):
            schema["additionalProperties"] = False
        return schema


class StrictFilterExtension(DjangoFilterExtension):
    """The filters of a list, and its `ordering`."""

    target_class = "apps.eventlog.api.filters.StrictFilterBackend"
    priority = 1

    def get_schema_operation_parameters(self, auto_schema: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        filters = super().get_schema_operation_parameters(auto_schema, *args, **kwargs)
        for parameter in filters:
            if parameter["schema"] == {"type": "string"}:
                parameter["schema"] = {"type": "string", "minLength": 1, "pattern": TEXT}
        return [*filters, *self.target.get_ordering_parameters(auto_schema.view)]


def declare_tags(result: dict[str, Any], generator: Any, **_: Any) -> dict[str, Any]:
    """Declare each tag in use, with what the class of its views says. Called when the rest of the schema is made."""
    said = {
        path.split("/")[2]: get_doc(callback.cls) for path, _, _, callback in generator.endpoints if "/api/" in path
    }
    used = {tag for methods in result["paths"].values() for each in methods.values() for tag in each["tags"]}
    return result | {"tags": [{"name": tag, "description": said[tag]} for tag in sorted(used)]}
