"""Where each projector and reactor of a service is, and the events that one could not take in."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.eventlog import dead_letters, parking
from apps.eventlog.admin.actions import Refused, act_with_reason
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.models import DeadLetter
from apps.eventlog.projectors import Projector
from apps.eventlog.reactors import Reactor


class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "position", "updated_at")
    actions = None


class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("projector", "position", "stream", "status", "attempts", "error", "parked_at")
    list_filter = ("status", ("projector", ValuesFilter))
    search_fields = ("=stream",)
    actions = ("retry", "skip")

    @admin.action(description="Retry the streams of these, in order")
    def retry(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        by = request.user.get_username()
        for name, stream in sorted(set(letters.filter(status__in=parking.OPEN).values_list("projector", "stream"))):
            done, error = dead_letters.retry(_reader(name), stream, by=by)
            level = messages.WARNING if error else messages.SUCCESS
            self.message_user(request, f"{name} {stream}: {done} taken in{f', then {error}' if error else ''}", level)

    @admin.action(description="Skip for good, with a reason")
    def skip(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse | None:
        by = request.user.get_username()

        def act(letter: DeadLetter, reason: str) -> None:
            if not dead_letters.skip(_reader(letter.projector), letter.position, by=by, reason=reason):
                raise Refused("it does not wait any more")

        return act_with_reason(self, request, letters, "Skip", act)


def _reader(name: str) -> Any:
    return {**Projector.registry, **Reactor.registry}[name]
