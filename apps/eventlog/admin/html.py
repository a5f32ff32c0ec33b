"""HTML for values on the pages of the admin."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def link(text: object, page: str, *arguments: object) -> SafeString:
    """A link to a page of the admin."""
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{page}", args=arguments), text)


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> SafeString:
    """A table of rows of values, below the names of their columns."""
    head = format_html_join("", "<th scope='col'>{}</th>", [[name] for name in names])
    cells = [[format_html_join("", "<td>{}</td>", [[value] for value in row])] for row in rows]
    body = format_html_join("", "<tr>{}</tr>", cells)
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def pretty(value: Any) -> SafeString:
    """A JSON value, indented."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))
