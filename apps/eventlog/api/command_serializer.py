"""What a command's body may be: known fields, of the type that JSON has for them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from django.utils.functional import cached_property
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.utils.serializer_helpers import BindingDict

Serializer = TypeVar("Serializer", bound="CommandSerializer")


def example(body: dict[str, Any]) -> Callable[[type[Serializer]], type[Serializer]]:
    """Show this body in the API's schema and in the form of its pages; the tests send it."""

    def show(kind: type[Serializer]) -> type[Serializer]:
        kind.example = body
        return extend_schema_serializer(examples=[OpenApiExample("An example", body, request_only=True)])(kind)

    return show


# What a field takes in JSON; DRF by itself would read a number as text, and text as a number.
JSON_TYPES: list[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str]] = [
    (serializers.IntegerField, (int, float), "a number"),
    (serializers.CharField, (str,), "a string"),
    (serializers.UUIDField, (str,), "a string"),
    (serializers.ChoiceField, (str,), "a string"),
]


class CommandSerializer(serializers.Serializer[Any]):
    """Base of the input serializers, one a command, named for it; refuses unknown keys and other types."""

    example: ClassVar[dict[str, Any]] = {}

    def get_initial(self) -> dict[str, Any]:
        """What the form of the browsable pages begins with."""
        return self.example

    @cached_property
    def fields(self) -> BindingDict:  # type: ignore[override]
        return _fields(type(self))

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        errors = {key: self._fault(key, value) for key, value in data.items()} if isinstance(data, Mapping) else {}
        if any(errors.values()):
            raise ValidationError({key: [fault] for key, fault in sorted(errors.items()) if fault})
        return super().to_internal_value(data)

    def _fault(self, key: str, value: Any) -> str:
        field = self.fields.get(key)
        if field is None:
            return "unknown field"
        for kind, types, name in JSON_TYPES:
            if isinstance(field, kind) and value is not None and type(value) not in types:
                return f"not {name}"
        return ""


@cache
def _fields(kind: type[CommandSerializer]) -> BindingDict:
    """The fields of a serializer, made once: they validate without a state, and copying them costs more than that.

    They belong to no request, so they find none in their context.
    """
    blank = kind()
    fields = BindingDict(blank)
    for name, field in blank.get_fields().items():
        fields[name] = field
    return fields


class NothingSerializer(CommandSerializer):
    """A command without fields; an empty body or `{}`."""
