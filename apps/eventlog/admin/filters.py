"""Filters of the lists. Those of the event list know their choices from the code, without reading the log."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.eventlog.events import DomainEvent, stored_names
from apps.eventlog.log.columns import correlation_key
from apps.eventlog.models import StoredEvent
from apps.eventlog.projectors import categories

Events = QuerySet[StoredEvent]


class _Choice(admin.SimpleListFilter):
    """One of the values that a column can have. A type implies its category, so choosing one clears the other."""

    parameter_name: str
    other: str

    def queryset(self, request: HttpRequest, events: Events) -> Events:
        return events.filter(**{self.parameter_name: self.value()}) if self.value() else events

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for choice, (value, _) in zip(super().choices(changelist), [("", ""), *self.lookup_choices], strict=True):
            where = {self.parameter_name: value} if value else {}
            remove = [self.other] if value else [self.parameter_name]
            yield choice | {"query_string": changelist.get_query_string(where, remove)}


class ValuesFilter(admin.AllValuesFieldListFilter):
    """The values of an indexed column, each found by one look into the index; DISTINCT would read all rows."""

    def __init__(self, field: Any, request: HttpRequest, params: Any, model: Any, page: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, page, field_path)
        rows = page.get_queryset(request).order_by(field_path)
        self.lookup_choices: Any = list(_values(rows, field_path))


def _values(rows: QuerySet[Any], column: str) -> Iterator[Any]:
    value = rows.values_list(column, flat=True).first()
    while value is not None:
        yield value
        value = rows.filter(**{f"{column}__gt": value}).values_list(column, flat=True).first()


class CategoryFilter(_Choice):
    title, parameter_name, other = "category", "category", "type"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [(category, category) for category in sorted(categories())]


class TypeFilter(_Choice):
    title, parameter_name, other = "type", "type", "category"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(DomainEvent.types)]

    def queryset(self, request: HttpRequest, events: Events) -> Events:
        asked = self.value()
        return events.filter(type__in=stored_names([asked])) if asked else events


class _TypedFilter(admin.ListFilter):
    """Values that the user types. An invalid value shows its error and filters nothing."""

    template = "eventlog/admin/typed_filter.html"
    form_class: type[forms.Form]

    def __init__(self, request: HttpRequest, params: dict[str, list[str]], model: Any, page: Any) -> None:
        super().__init__(request, params, model, page)
        given = {name: params.pop(name)[-1] for name in self.form_class.base_fields if name in params}
        self.form = self.form_class(given)
        self.used_parameters = dict(given)
        self.form.is_valid()

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.form_class.base_fields)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The other parameters of the page, to be sent with the form. The template shows the form itself."""
        for name, value in changelist.params.items():
            if name not in self.form_class.base_fields:
                yield {"name": name, "value": value}


class InstantField(forms.DateTimeField):
    """An instant of RFC 3339, whose `T` and `Z` may be in lower case, or one without a zone, in UTC."""

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.upper() if isinstance(value, str) else value)


class TimeForm(forms.Form):
    since = InstantField(required=False, label="since, UTC")
    until = InstantField(required=False, label="until, UTC")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for field in self.fields.values():
            field.widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1})


class TimeFilter(_TypedFilter):
    title, form_class = "time", TimeForm

    def queryset(self, request: HttpRequest, events: Events) -> Events:
        since, until = (self.form.cleaned_data.get(name) for name in ("since", "until"))
        events = events.filter(recorded_at__gte=since) if since else events
        return events.filter(recorded_at__lte=until) if until else events


class CorrelationForm(forms.Form):
    correlation_id = forms.CharField(required=False, label="", max_length=200)


class CorrelationFilter(_TypedFilter):
    title, form_class = "correlation id", CorrelationForm

    def queryset(self, request: HttpRequest, events: Events) -> Events:
        id = self.form.cleaned_data.get("correlation_id")
        return events.filter(correlation_id=correlation_key(id)) if id else events
