"""One search over all lists: what somebody has at hand leads to the rows that it may mean."""

from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.eventlog.admin import html

SHOWN = 10  # rows of each list
LONGEST = 200  # characters of a search term


class Found(NamedTuple):
    """What a list has: its first rows, and where all of them are."""

    title: str
    rows: list[tuple[str, str]]  # the text and the URL of each
    more: bool
    url: str


def find(request: HttpRequest) -> HttpResponse:
    """Find `q` in every list that the login of the request may see. If there is only one row, show its page."""
    term = request.GET.get("q", "").strip()[:LONGEST]
    found = [each for each in _looked_up(request, term) if each.rows] if term else []
    if len(found) == 1 and len(found[0].rows) == 1 and found[0].rows[0][1]:
        return redirect(found[0].rows[0][1])
    title = f"Found for {term}" if term else "Find"
    context = {**admin.site.each_context(request), "title": title, "term": term, "found": found}
    return render(request, "eventlog/admin/find.html", context)


def _looked_up(request: HttpRequest, term: str) -> list[Found]:
    searched = [(model, page) for model, page in html.pages().items() if getattr(page, "findable", False)]
    return [_in_list(request, model, page, term) for model, page in searched if page.has_view_permission(request)]


def _in_list(request: HttpRequest, model: type[Model], page: Any, term: str) -> Found:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    rows, _ = page.get_search_results(request, page.get_queryset(request), term)
    first = list(rows[: SHOWN + 1])
    links = [(str(row), html.url(f"{name}_change", row.pk)) for row in first[:SHOWN]]
    names = [str(each._meta.verbose_name_plural) for each in html.pages()]
    plural = str(model._meta.verbose_name_plural)
    title = f"{plural} of {model._meta.app_label}" if names.count(plural) > 1 else plural
    return Found(title.capitalize(), links, len(first) > SHOWN, html.url(f"{name}_changelist", q=term))
