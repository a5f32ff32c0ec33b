"""Query parameters. One that is unknown or has the wrong type is refused, and the error names it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.core.exceptions import ValidationError as InvalidInstant
from django.db.models import QuerySet
from django_filters import IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from django_filters.utils import translate_validation
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.views import APIView


def integer_parameter(request: Request, name: str, default: int, least: int, most: int) -> int:
    """An integer query parameter within bounds; raises ValidationError naming it."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise ValidationError({name: [f"an integer from {least} to {most}"]})
    return int(text)


def check_parameters(request: Request, known: set[str]) -> None:
    """Refuse a query parameter that is unknown, empty or there twice; raises ValidationError naming each."""
    errors = {name: _fault(name, values, known) for name, values in request.query_params.lists()}
    if any(errors.values()):
        raise ValidationError({name: [fault] for name, fault in errors.items() if fault})


def _fault(name: str, values: list[Any], known: set[str]) -> str:
    if name not in known:
        return f"unknown parameter; known: {', '.join(sorted(known)) or 'none'}"
    if len(values) > 1:
        return "given more than once"
    return "" if values[0] else "empty; leave it out instead"


class InstantField(IsoDateTimeField):
    """An instant, in UTC: engines differ in how far an offset may go."""

    def to_python(self, value: Any) -> datetime | None:
        instant = super().to_python(value.upper() if isinstance(value, str) else value)  # RFC 3339 has `t` and `z` too
        try:
            return instant and instant.astimezone(UTC)
        except OverflowError:
            raise InvalidInstant("no instant of the years 1 to 9999") from None


class InstantParameter(serializers.DateTimeField):
    """An instant of RFC 3339, whose `T` and `Z` may be in lower case."""

    def to_internal_value(self, value: Any) -> datetime:
        return super().to_internal_value(value.upper() if isinstance(value, str) else value)


class InstantFilter(IsoDateTimeFilter):
    field_class = InstantField


class StrictFilterBackend(DjangoFilterBackend):
    """The view's filters and `ordering`; a parameter that is neither is refused.

    A view names the columns of `ordering` in `ordering_fields`; the primary key is added, so that
    the order is total.
    """

    def wanted(self, request: Request, view: Any) -> tuple[dict[str, Any], list[str] | None]:
        """The filters that a request names, with their values, and the ordering that it names, if it does.

        Raises ValidationError.
        """
        view_class: Any = type(view)
        kind, fields = filters_of(view_class), getattr(view, "ordering_fields", ())
        filters = set(kind.base_filters) if kind else set()
        check_parameters(request, {"limit", "cursor", *filters, *(["ordering"] if fields else [])})
        named = sorted(filters & set(request.query_params))
        values = _values(kind(request.query_params, view.queryset, request=request), named) if kind and named else {}
        return values, _ordering(request, fields, view.queryset)

    def get_ordering_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The parameter `ordering` as OpenAPI has it, if the view has one."""
        names = [name for field in getattr(view, "ordering_fields", ()) for name in (field, f"-{field}")]
        return [{"name": "ordering", "in": "query", "schema": {"type": "string", "enum": names}}] if names else []


@cache
def filters_of(view: Any) -> type[FilterSet] | None:
    """The filters of a class of views, made once."""
    return StrictFilterBackend().get_filterset_class(view, view.queryset)


def _values(filters: Any, names: list[str]) -> dict[str, Any]:
    if not filters.is_valid():
        raise translate_validation(filters.errors)
    return {name: filters.form.cleaned_data[name] for name in names}


def _ordering(request: Request, fields: Sequence[str], rows: QuerySet[Any]) -> list[str] | None:
    ordering = request.query_params.get("ordering")
    if ordering is None:
        return None
    if ordering.removeprefix("-") not in fields:
        choices = ", ".join(f"{name}, -{name}" for name in fields)
        raise ValidationError({"ordering": [f"one of {choices}"]})
    sign = "-" if ordering.startswith("-") else ""
    return [ordering, f"{sign}{rows.model._meta.pk.name}"]
