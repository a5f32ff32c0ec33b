"""The body of a command: known fields only, each of one JSON type."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from django.utils.functional import cached_property
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.utils.serializer_helpers import BindingDict
from rest_framework.validators import ProhibitSurrogateCharactersValidator

Serializer = TypeVar("Serializer", bound="CommandSerializer")

# It looks at each character by itself, which takes 75 of the 95 ms of processor time that a body of 2.4 MB costs. The
# parser has refused such characters already.
SLOW = ProhibitSurrogateCharactersValidator


def example(body: dict[str, Any]) -> Callable[[type[Serializer]], type[Serializer]]:
    """Show this body in the API's schema and in the form of its pages. The tests send it."""

    def show(kind: type[Serializer]) -> type[Serializer]:
        kind.example = body
        return extend_schema_serializer(examples=[OpenApiExample("An example", body, request_only=True)])(kind)

    return show


# The JSON type that a field takes. DRF alone would accept a number for text, and text for a number.
JSON_TYPES: list[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str]] = [
    (serializers.IntegerField, (int, float), "a number"),
    (serializers.CharField, (str,), "a string"),
    (serializers.UUIDField, (str,), "a string"),
    (serializers.ChoiceField, (str,), "a string"),
    (serializers.BooleanField, (bool,), "true or false"),
]


class CommandSerializer(serializers.Serializer[Any]):
    """Base of the serializers of commands, one for each command. It refuses unknown keys and other JSON types."""

    example: ClassVar[dict[str, Any]] = {}

    def get_initial(self) -> dict[str, Any]:
        """The example, with which the form of the browsable pages begins."""
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
    """The fields of a serializer, made once. DRF copies them for each request, which takes longer than validation.

    Validation changes no field, so requests can share them. A field finds no request in its context.
    """
    blank = kind()
    fields = BindingDict(blank)
    for name, field in blank.get_fields().items():
        for each in (field, getattr(field, "child", field)):
            each.validators = [known for known in each.validators if type(known) is not SLOW]
        fields[name] = field
    return fields


class NothingSerializer(CommandSerializer):
    """A command without fields: the body is empty or `{}`."""
