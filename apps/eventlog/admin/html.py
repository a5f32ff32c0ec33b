"""HTML for values on the pages of the admin. A page has a link only if its viewer may see the target."""

import json
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import get_script_prefix, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from apps.eventlog.commands import Actor


class Viewer:
    """Who looks at the page, and what they may see. Each permission is asked for once: a list has a hundred links."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.known: dict[tuple[str, str], bool] = {}

    def may_see(self, app_label: str, model: str) -> bool:
        key = app_label, model
        if key not in self.known:
            self.known[key] = self.actor.may(f"{app_label}.view_{model}")
        return self.known[key]


viewer: ContextVar[Viewer | None] = ContextVar("viewer", default=None)
"""The site sets it for each page of the admin."""


def may_see(app_label: str, model: str) -> bool:
    """May the one who looks at the page see the rows of this model?"""
    looking = viewer.get()
    return looking is not None and looking.may_see(app_label, model)


def url(page: str, *arguments: object, **query: Any) -> str:
    """The URL of a page of a model, such as `orders_order_change`; empty for those who may not see its rows."""
    app_label, model, _ = page.rsplit("_", 2)
    if not may_see(app_label, model):
        return ""
    before, after = _around(page, len(arguments), get_script_prefix())
    return before + "".join(quote(str(each)) for each in arguments) + after + (f"?{urlencode(query)}" if query else "")


@cache
def _around(page: str, arguments: int, script_prefix: str) -> tuple[str, str]:
    """What stands before and after the key in the URL of a page. To ask Django for each row takes ten times as long."""
    before, _, after = reverse(f"admin:{page}", args=["0"] * arguments).rpartition("0")
    return (before, after) if arguments else (after, "")


def link(text: object, page: str, *arguments: object, **query: Any) -> SafeString:
    """A link to a page of a model; the text alone for those who may not see it."""
    return linked(text, url(page, *arguments, **query))


def linked(text: object, where: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', where, text) if where else format_html("{}", text)


def pages() -> dict[type[Model], Any]:
    """The page of each model that the admin shows."""
    found: dict[type[Model], Any] = admin.site._registry  # noqa: SLF001  (Django has no other way to ask)
    return found


@cache
def main_pages() -> dict[str, tuple[str, str]]:
    """For each category, the label and the model of the rows that stand for its streams, such as an order's."""
    return {
        page.category: (model._meta.app_label, str(model._meta.model_name))
        for model, page in pages().items()
        if getattr(page, "category", "") and not getattr(page, "is_copy", False)
    }


def row_url(stream: str) -> str:
    """The URL of the page of the row that stands for a stream: of the order, of the user. Empty if there is none."""
    category, _, id = stream.partition("-")
    label, model = main_pages().get(category, ("", ""))
    return url(f"{label}_{model}_change", id) if model and id else ""


def stream_link(stream: str, text: object = "") -> SafeString:
    """A link to the row that stands for a stream."""
    return linked(text or stream, row_url(stream))


def actor_link(name: object) -> SafeString:
    """The login that sent a command. A customer's login has the id of the person as its name, and becomes a link."""
    page = next((model._meta for model, page in pages().items() if getattr(page, "is_person", False)), None)
    if page is None or not is_id(str(name)):
        return format_html("{}", name)
    return link("the customer", f"{page.app_label}_{page.model_name}_change", name)


def is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def event_link(position: int, text: object = "") -> SafeString:
    """A link to the event at a position of the log."""
    return link(text or f"at position {position}", "eventlog_storedevent_change", position)


def events_link(text: object, **query: Any) -> SafeString:
    """A link to the list of events, filtered."""
    return link(text, "eventlog_storedevent_changelist", **query)


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> SafeString:
    """A table of rows of values, below the names of their columns."""
    head = format_html_join("", "<th scope='col'>{}</th>", [[name] for name in names])
    cells = [[format_html_join("", "<td>{}</td>", [[value] for value in row])] for row in rows]
    body = format_html_join("", "<tr>{}</tr>", cells)
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def with_text(row: object, said: object) -> SafeString:
    """A row and what is said of it."""
    return format_html("{}: {}", row, said) if said else format_html("{}", row)


def bullets(items: Iterable[object]) -> SafeString:
    """A list of values, one below the other."""
    return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", [[item] for item in items]))


def pretty(value: Any) -> SafeString:
    """A JSON value, indented."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))
