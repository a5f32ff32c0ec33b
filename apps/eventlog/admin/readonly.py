"""Pages that show rows and change none."""

from functools import reduce
from operator import or_
from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse

from apps.eventlog.admin.changelist import KeysetChangeList
from apps.eventlog.permissions import actor_of, permission_to


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody changes by hand: they follow from the log.

    An action declares what it takes: `@admin.action(permissions=["act"])` is `change_<model>`.
    """

    change_form_template = "eventlog/admin/row.html"
    change_list_template = "eventlog/admin/list.html"
    sortable_by = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # they count

    def may(self, request: HttpRequest, verb: str) -> bool:
        return actor_of(request.user).may(permission_to(verb, self.model))

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may(request, "view")

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Not `has_change_permission`: that would make Django show a form of the row."""
        return self.may(request, "change")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Fields with `=` by their exact values, for which there is an index, where the term can be one; else any."""
        names = [name[1:] for name in self.get_search_fields(request) if name.startswith("=")]
        exact = [Q(**{name: search_term.strip()}) for name in names if self._can_be(name, search_term.strip())]
        if exact:
            return queryset.filter(reduce(or_, exact)), False
        return super().get_search_results(request, queryset, search_term)

    def _can_be(self, name: str, value: str) -> bool:
        field: Any = self.opts.get_field(name)
        try:
            return bool(value) and field.to_python(value) is not None
        except ValidationError:
            return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = {"title": str(self.opts.verbose_name_plural).capitalize()}
        return super().changelist_view(request, (extra_context or {}) | title)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        more = {} if row is None else self.beside(request, row) | {"verbs": self._verbs(request)}
        title = {"title": f"{str(self.opts.verbose_name).capitalize()} {row}", "subtitle": None}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | title | more)

    def _verbs(self, request: HttpRequest) -> list[tuple[str, str]]:
        """The actions of the list, to be done to one row on its page: (name, description)."""
        return [(action[1], str(action[2])) for action in self.get_actions(request).values() if action]

    def beside(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template shows beside the row's own fields."""
        return {}
