"""The projectors and reactors of a service: how far each has come, and its dead letters."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from apps.eventlog.admin.actions import Act, Refused, action
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import event_link, events_link, linked, may_see, stream_link, table
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.delivery.dead_letters import OPEN
from apps.eventlog.models import DeadLetter, StoredEvent
from apps.eventlog.processing import settling


class CheckpointAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("name", "position", "updated_at")
    actions = None


class StatusFilter(admin.SimpleListFilter):
    """Those that wait for somebody, or those of one status."""

    title, parameter_name = "status", "status"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("open", "open"), *DeadLetter.Status.choices]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "open":
            return rows.filter(status__in=OPEN)
        return rows.filter(status=self.value()) if self.value() else rows


def _settled(dead_letter: DeadLetter) -> str:
    return "" if dead_letter.status in OPEN else f"it is settled already: {dead_letter.status}"


def _retry(request: HttpRequest, dead_letter: DeadLetter, _: str) -> object:
    """Retry the whole stream; another row of the same stream then has nothing left to do."""
    kind = settling.readers()[dead_letter.projector]
    done, error = settling.retry(kind, dead_letter.stream, by=request.user.get_username())
    if error:
        raise Refused(f"{done} taken in, then {error}")
    return format_html("{} taken in; {}", done, stream_link(dead_letter.stream, "see the row"))


def _skip(request: HttpRequest, dead_letter: DeadLetter, reason: str) -> object:
    kind, by = settling.readers()[dead_letter.projector], request.user.get_username()
    if not settling.skip(kind, dead_letter.position, by=by, reason=reason):
        raise Refused("it is settled already")
    return stream_link(dead_letter.stream, "see the row")


def _left_out(dead_letters: Sequence[DeadLetter]) -> list[str]:
    return ["The event is left out of the rows for ever, also in every rebuild. It stays in the log."] * bool(
        dead_letters
    )


class DeadLetterAdmin(ReadOnlyAdmin):
    list_display: tuple[str, ...] = (
        "position",
        "status",
        "projector",
        "of",
        "attempts",
        "why",
        "parked_at",
    )
    list_filter = (StatusFilter, ("projector", ValuesFilter))
    search_fields: ClassVar[tuple[str, ...]] = ("=stream",)
    search_hint = "A stream, or the id of an order, a user or an event, or its beginning."
    findable = True
    actions = ("retry", "skip")
    exclude = ("position", "acts", "stream", "event_id", "projector")
    readonly_fields = ("reader", "event", "of", "whole_stream", "parked_at", "acts_of_operators")
    retry = action(Act("Retry", _retry, asks="", unless=_settled), description="Retry its stream, in order")
    skip = action(Act("Skip", _skip, unless=_settled, follows=_left_out), description="Skip for ever, with a reason")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What it is about comes first."""
        return [
            *self.readonly_fields[:4],
            *[each for each in super().get_fields(request, obj) if each not in self.readonly_fields[:4]],
        ]

    @admin.display(description="error")
    def why(self, dead_letter: DeadLetter) -> str:
        return Truncator(dead_letter.error).chars(120)

    @admin.display
    def event(self, dead_letter: DeadLetter) -> SafeString:
        found = StoredEvent.objects.filter(pk=dead_letter.position).first()
        return event_link(dead_letter.position, f"{found.type if found else 'gone'} at position {dead_letter.position}")

    @admin.display(description="reader")
    def reader(self, dead_letter: DeadLetter) -> SafeString:
        where = f"{reverse('admin:projectors')}#reader-{dead_letter.projector}"
        return linked(dead_letter.projector, where if may_see("eventlog", "job") else "")

    @admin.display(description="row")
    def of(self, dead_letter: DeadLetter) -> SafeString:
        return stream_link(dead_letter.stream)

    @admin.display(description="stream")
    def whole_stream(self, dead_letter: DeadLetter) -> SafeString:
        return events_link("all its events", q=dead_letter.stream)

    @admin.display
    def acts_of_operators(self, dead_letter: DeadLetter) -> SafeString | str:
        names = ("at", "by", "act", "reason", "outcome")
        rows = [[act.get(name, "") for name in names] for act in dead_letter.acts]
        return table([name.capitalize() for name in names], rows) if rows else "none"
