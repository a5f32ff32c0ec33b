"""What a command's body may be: known fields, of the type that JSON has for them."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

# What a field takes in JSON; DRF by itself would read a number as text, and text as a number.
JSON_TYPES: list[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str]] = [
    (serializers.IntegerField, (int, float), "a number"),
    (serializers.CharField, (str,), "a string"),
    (serializers.UUIDField, (str,), "a string"),
    (serializers.ChoiceField, (str,), "a string"),
]


class CommandSerializer(serializers.Serializer[Any]):
    """Base of the input serializers, one a command, named for it; refuses unknown keys and other types."""

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


class NothingSerializer(CommandSerializer):
    """A command without fields; an empty body or `{}`."""
