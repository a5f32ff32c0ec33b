"""What is wrong now, on the index of the admin and in the header of each page."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.eventlog.api.conditions import not_stored
from apps.eventlog.commands import Actor
from apps.eventlog.read import faults
from apps.eventlog.read.overview import overview

Document = dict[str, str | None]


def shown_to(request: HttpRequest) -> list[Document]:
    """What is wrong now, as far as the login of the request may know, each with the page that puts it right."""
    may = Actor.of(request.user).may
    return faults.shown_to(may, faults.faults(overview()))


def wrong(request: HttpRequest) -> HttpResponse:
    """The same for the script of the header. Each member of staff is told of what they may see."""
    answer: HttpResponse = not_stored(JsonResponse({"faults": shown_to(request)}))
    return answer
