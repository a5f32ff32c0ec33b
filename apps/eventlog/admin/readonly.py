"""Pages that show rows and change none."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that nobody changes by hand: they follow from the log."""

    change_form_template = "eventlog/admin/row.html"
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # they count

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = {"title": str(self.opts.verbose_name_plural).capitalize()}
        return super().changelist_view(request, (extra_context or {}) | title)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        more = {} if row is None else self.beside(request, row)
        title = {"title": f"{str(self.opts.verbose_name).capitalize()} {row}", "subtitle": None}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | title | more)

    def beside(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template shows beside the row's own fields."""
        return {}


def pretty(value: Any) -> SafeString:
    """A JSON value, indented."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))
