"""Query parameters: typed, known, and refused by name otherwise."""

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError as InvalidInstant
from django.db.models import QuerySet
from django_filters import IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
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
        instant = super().to_python(value)
        try:
            return instant and instant.astimezone(UTC)
        except OverflowError:
            raise InvalidInstant("no instant of the years 1 to 9999") from None


class InstantFilter(IsoDateTimeFilter):
    field_class = InstantField


class StrictFilterBackend(DjangoFilterBackend):
    """The view's filters and `ordering`; a parameter that is neither is refused.

    A view names the columns of `ordering` in `ordering_fields`; the primary key is added, so that
    the order is total.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        fields = getattr(view, "ordering_fields", ())
        kind = self.get_filterset_class(view, queryset)
        filters = set(kind.base_filters) if kind else set()
        check_parameters(request, {"limit", "cursor", *filters, *(["ordering"] if fields else [])})
        if filters & set(request.query_params):  # else there is nothing to make a form for
            queryset = super().filter_queryset(request, queryset, view)
        ordering = request.query_params.get("ordering")
        if ordering is None:
            return queryset
        if ordering.removeprefix("-") not in fields:
            choices = ", ".join(f"{name}, -{name}" for name in fields)
            raise ValidationError({"ordering": [f"one of {choices}"]})
        sign = "-" if ordering.startswith("-") else ""
        return queryset.order_by(ordering, f"{sign}{queryset.model._meta.pk.name}")

    def get_ordering_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """The parameter `ordering` as OpenAPI has it, where the view has one."""
        names = [name for field in getattr(view, "ordering_fields", ()) for name in (field, f"-{field}")]
        return [{"name": "ordering", "in": "query", "schema": {"type": "string", "enum": names}}] if names else []
