"""Actions of the admin: only those that are possible are offered, and what will follow is said before.

An action asks on a page of its own, acts on each chosen row, and reports what became of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_ngettext
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html

from apps.eventlog.admin import html
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

Row = Any
Handler = Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse | None]


class Refused(Exception):
    """The action cannot be done to this row; the message says why."""


def _never(row: Row) -> str:
    return ""


def _nothing(rows: Sequence[Row]) -> list[str]:
    return []


@dataclass(frozen=True)
class Act:
    """Something that people do to rows.

    `verb` names it, as in "Cancel", and `do(request, row, text)` does it: it returns what has happened, which may be a
    link to it, or raises `Refused`. `asks` is what the text is, such as the reason; if it is empty, none is asked for.
    `unless` says why it is not possible for a row, or nothing. `follows` says in sentences what will happen to these
    rows. What is `for_good` cannot be undone, so it takes one row, whose id must be typed.
    """

    verb: str
    do: Callable[[HttpRequest, Row, str], object]
    asks: str = "reason"
    unless: Callable[[Row], str] = _never
    follows: Callable[[Sequence[Row]], list[str]] = _nothing
    longest: int = 500
    for_good: bool = False


@dataclass
class Results:
    """What became of each row: done, or refused with the reason."""

    done: list[tuple[Row, object]] = field(default_factory=list)
    refused: list[tuple[Row, str]] = field(default_factory=list)


def action(act: Act, permission: str = "act", description: str = "") -> Handler:
    """The action of an admin page, to be named in its `actions`. `permission` is a verb, see `ReadOnlyAdmin`."""

    def carry_out(page: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        return _carry_out(page, request, rows, act)

    carry_out.__dict__["act"] = act
    described: Handler = admin.action(description=description or act.verb, permissions=[permission])(carry_out)
    return described


class Form(forms.Form):
    """What an action asks for."""

    def __init__(self, act: Act, rows: Sequence[Row], data: Any) -> None:
        super().__init__(data)
        if act.asks:
            focused = forms.TextInput(attrs={"autofocus": True, "size": 60})
            label = act.asks.capitalize()
            self.fields["reason"] = forms.CharField(label=label, max_length=act.longest, widget=focused)
        if act.for_good:
            self.id = str(rows[0].pk)
            self.fields["confirmed"] = forms.CharField(
                label="Type the id to confirm", widget=forms.TextInput(attrs={"size": 60, "autocomplete": "off"})
            )

    def clean_confirmed(self) -> str:
        if self.cleaned_data["confirmed"].strip().lower() != self.id:
            raise forms.ValidationError("This is not the id of the row. Nothing has been done.")
        return self.id


def _carry_out(page: Any, request: HttpRequest, rows: QuerySet[Any], act: Act) -> HttpResponse | None:
    """Ask, or do what was asked for. Returns the page that asks, or None when it is done.

    A row that is late may seem not to allow it, so after the question the command alone decides.
    """
    chosen, most = list(rows[: MOST + 1]), 1 if act.for_good else MOST
    if len(chosen) > most:
        said = "one row at a time" if act.for_good else f"at most {MOST} at a time"
        page.message_user(request, f"{act.verb}: choose {said}. Nothing has been done.", messages.ERROR)
        return None
    if not chosen:
        page.message_user(request, f"{act.verb}: what was chosen is not in this list any more.", messages.WARNING)
        return None
    answered = "confirm" in request.POST or "reason" in request.POST
    impossible = [(row, why) for row in chosen if (why := act.unless(row))]
    results = Results()
    if not answered and len(impossible) == len(chosen):
        results.refused = impossible
    else:
        form = Form(act, chosen, request.POST if answered else None)
        if (act.asks or act.for_good or answered or act.follows(chosen)) and not form.is_valid():
            return _ask(page, request, chosen, act, form)
        for row in chosen:
            _do(act, request, row, form.cleaned_data.get("reason", "") if answered else "", results)
    _report(page, request, act, results)
    return None


def _do(act: Act, request: HttpRequest, row: Row, text: str, results: Results) -> None:
    try:
        results.done.append((row, act.do(request, row, text)))
    except Refused as refused:
        results.refused.append((row, str(refused)))


def _report(page: Any, request: HttpRequest, act: Act, results: Results) -> None:
    """What was done to each row, and what was not, which is never green.

    The message is kept until it is shown, so of a person who was erased just now it names the id alone.
    """
    total = len(results.done) + len(results.refused)
    summary = f"{act.verb}: {len(results.done)} of {total} done"
    level = messages.SUCCESS if not results.refused else messages.WARNING if results.done else messages.ERROR
    lines = [html.with_text(row.pk if act.for_good else row, done) for row, done in results.done]
    lines += [html.with_text(row, why) for row, why in results.refused]
    page.message_user(request, format_html("{}{}", summary, html.bullets(lines)), level)


def _ask(page: Any, request: HttpRequest, rows: list[Row], act: Act, form: Form) -> HttpResponse:
    possible = [row for row in rows if not act.unless(row)]
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": f"{act.verb} {len(possible)} {model_ngettext(page.opts, len(possible))}",
        "rows": rows,
        "possible": possible,
        "left_out": [(row, act.unless(row)) for row in rows if act.unless(row)],
        "follows": act.follows(possible),
        "form": form,
        "act": act,
        "action": request.POST["action"],
        "from_row": "from_row" in request.POST,
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return render(request, "eventlog/admin/reason.html", context)


def send(command: Callable[..., Command], *, with_text: bool = True) -> Callable[[HttpRequest, Row, str], object]:
    """A `do` that sends `command(id, text)`, or `command(id)`, in the name of the request's login.

    It returns a link to the event, whose page shows everything that followed.
    """

    def do(request: HttpRequest, row: Row, text: str) -> object:
        try:
            sent = command(row.pk, text) if with_text else command(row.pk)
            outcome = dispatch(sent, actor=Actor.of(request.user), wait=False)
        except REFUSALS as why:
            raise Refused(f"refused, {why}") from why
        return html.event_link(outcome.position, "see what followed") if outcome.position else "nothing to do"

    return do


def act_with_reason(
    page: admin.ModelAdmin,  # type: ignore[type-arg]
    request: HttpRequest,
    rows: QuerySet[Any],
    verb: str,
    act: Callable[[Any, str], object],
) -> HttpResponse | None:
    """Ask for a reason, then call `act(row, reason)` for each row: `action` in the form of earlier versions."""
    return _carry_out(page, request, rows, Act(verb, lambda _, row, reason: act(row, reason)))


def sending(request: HttpRequest, command: Callable[..., Command]) -> Callable[[Any, str], object]:
    """Return an `act` for `act_with_reason`. It sends `command(id, reason)` in the name of the request's login."""
    do = send(command)
    return lambda row, reason: do(request, row, reason)
