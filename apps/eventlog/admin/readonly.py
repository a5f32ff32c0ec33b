"""Admin pages that show rows and do not change them."""

from functools import reduce
from operator import and_, or_
from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect

from apps.eventlog.admin import searching
from apps.eventlog.admin.changelist import KeysetChangeList
from apps.eventlog.api.access import permission_to
from apps.eventlog.commands import Actor
from apps.eventlog.events import stream_named


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody may change by hand, because they follow from the log.

    To see them takes `view_<model>`. An action says what it takes: `@admin.action(permissions=["act"])` is
    `change_<model>`.
    """

    is_machinery = False  # of no interest to people who do the business's work
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
        """Rows with the term in a field marked `=`, which has an index; by words in the others, unless it is an id."""
        term, names = stream_named(search_term.strip()), self.get_search_fields(request)
        if not term:
            return queryset, False
        known = [searching.exact(self.opts.get_field(name[1:]), term) for name in names if name.startswith("=")]
        ways = [each for each in (*known, self.other_way(term)) if each is not None]
        texts = [name for name in names if not name.startswith("=")]
        if texts and len(searching.digits_of(term)) < 32:
            ways.append(reduce(and_, searching.containing(texts, term)))
        return (queryset.filter(reduce(or_, ways)) if ways else queryset.none()), False

    def other_way(self, term: str) -> Q | None:
        """Rows that a search term means and no column of theirs has. Subclasses override this."""
        return None

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = {"title": str(self.opts.verbose_name_plural).capitalize()}
        return super().changelist_view(request, (extra_context or {}) | title)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        more = {} if row is None else self.page_context(request, row) | {"row_actions": self._row_actions(request, row)}
        title = {"title": f"{str(self.opts.verbose_name).capitalize()} {row}", "subtitle": None}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | title | more)

    def _row_actions(self, request: HttpRequest, row: Model) -> list[dict[str, Any]]:
        """The actions of the list that are possible for a row, for the page of the row."""
        found = [action for action in self.get_actions(request).values() if action]
        offered = [
            {"name": name, "description": description, "for_good": act is not None and act.for_good}
            for function, name, description in found
            if not ((act := getattr(function, "act", None)) and act.unless(row))
        ]
        return [each for each in offered if each["name"] != "delete_selected"]  # it has its button

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        """What was begun on the page of a row ends there; what was begun in the list, in the list with its filter."""
        answer = super().response_action(request, queryset, *args)
        row = request.POST.get(ACTION_CHECKBOX_NAME, "")
        if isinstance(answer, HttpResponseRedirect) and "from_row" in request.POST and row:
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", quote(row))
        return answer

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Template variables that the page of this row needs besides its fields. Subclasses override this."""
        return {}
