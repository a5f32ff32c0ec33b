"""Admin actions that ask for a reason, then act on each chosen row and report what was refused."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_ngettext
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.commands import Actor, Command
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption.data_keys import MissingKey
from apps.eventlog.events import UnknownEvent
from apps.eventlog.repository import Forbidden, NotFound
from apps.eventlog.reservations import Outdated, Reserved
from apps.eventlog.store import WrongExpectedVersion

REFUSALS = (RuleBroken, NotFound, Forbidden, Reserved, WrongExpectedVersion, MissingKey, Outdated, UnknownEvent)
MOST = 100  # rows at a time; each takes a command of its own, and all are sent in one request


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"autofocus": True, "size": 60}))


class Refused(Exception):
    """The action cannot be done to this row; the message says why."""


def act_with_reason(
    page: admin.ModelAdmin,  # type: ignore[type-arg]
    request: HttpRequest,
    rows: QuerySet[Any],
    verb: str,
    act: Callable[[Any, str], None],
) -> HttpResponse | None:
    """Ask for a reason, then call `act(row, reason)` for each row.

    Tells the user how many rows were done, and each `Refused`. `verb` names the action on the page, as in "Cancel".
    Returns the page that asks for the reason, or None when the action is done.
    """
    chosen = list(rows[: MOST + 1])
    if len(chosen) > MOST:
        page.message_user(request, f"{verb}: choose at most {MOST} at a time", messages.ERROR)
        return None
    form = ReasonForm(request.POST if "reason" in request.POST else None)
    if not form.is_valid():
        return _ask(page, request, chosen, verb, form)
    done = 0
    for row in chosen:
        try:
            act(row, form.cleaned_data["reason"])
            done += 1
        except Refused as refused:
            page.message_user(request, f"{row}: refused, {refused}", messages.WARNING)
    page.message_user(request, f"{verb}: {done} of {len(chosen)} done")
    return None


def _ask(page: Any, request: HttpRequest, rows: list[Any], verb: str, form: ReasonForm) -> HttpResponse:
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": f"{verb} {len(rows)} {model_ngettext(page.opts, len(rows))}",
        "rows": rows,
        "form": form,
        "verb": verb,
        "action": request.POST["action"],
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return render(request, "eventlog/admin/reason.html", context)


def sending(request: HttpRequest, command: Callable[[Any, str], Command]) -> Callable[[Any, str], None]:
    """Return an `act` for `act_with_reason`. It sends `command(id, reason)` in the name of the request's login."""
    actor = Actor.of(request.user)

    def act(row: Any, reason: str) -> None:
        try:
            dispatch(command(row.pk, reason), actor=actor, wait=False)
        except REFUSALS as why:
            raise Refused(str(why)) from why

    return act
