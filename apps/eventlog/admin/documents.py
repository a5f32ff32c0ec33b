"""Pages of read models with one row for each stream: the row, its history, and the document at any version."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.models import StoredEvent

SHOWN = 200  # events of the history on a page


class DocumentAdmin(ReadOnlyAdmin):
    """A slider shows the document as of any version or instant, and the difference between two versions.

    A subclass names the `category` of the streams.
    """

    change_form_template = "eventlog/admin/document.html"
    category: str

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        stream = f"{self.category}-{row.pk}"
        return {
            "document_url": reverse(f"{self.category}-detail", args=[row.pk]),
            "history": StoredEvent.objects.filter(stream=stream).order_by("-position")[:SHOWN],
            "stream": stream,
        }
