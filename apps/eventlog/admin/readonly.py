"""Admin pages that show rows and do not change them."""

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
from apps.eventlog.api.access import permission_to
from apps.eventlog.commands import Actor
from apps.eventlog.events import stream_named


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody may change by hand, because they follow from the log.

    To see them takes `view_<model>`. An action says what it takes: `@admin.action(permissions=["act"])` is
    `change_<model>`.
    """

    change_form_template = "eventlog/admin/row.html"
    change_list_template = "eventlog/admin/list.html"
    sortable_by = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # they would count all rows

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Does the user have the permission `<verb>_<model>`?"""
        return Actor.of(request.user).may(permission_to(verb, self.model))

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may(request, "view")

    def has_act_permission(self, request: HttpRequest) -> bool:
        """For actions. If `has_change_permission` said this, Django would show a form of the row."""
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
        """If the term can be the value of a field marked `=`, search those fields alone, because they have an index."""
        names = [name[1:] for name in self.get_search_fields(request) if name.startswith("=")]
        term = stream_named(search_term.strip())
        exact = [Q(**{name: term}) for name in names if self._can_be(name, term)]
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
        more = {} if row is None else self.page_context(request, row) | {"row_actions": self._row_actions(request)}
        title = {"title": f"{str(self.opts.verbose_name).capitalize()} {row}", "subtitle": None}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | title | more)

    def _row_actions(self, request: HttpRequest) -> list[tuple[str, str]]:
        """The actions of the list, which the page of a row offers for that row: (name, description)."""
        found = [action for action in self.get_actions(request).values() if action]
        return [(action[1], str(action[2])) for action in found if action[1] != "delete_selected"]  # has its button

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Template variables that the page of this row needs besides its fields. Subclasses override this."""
        return {}
