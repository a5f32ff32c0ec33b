"""What is wrong now. Each fault comes with the page of the admin that puts it right."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse

from apps.eventlog.live.credentials import SEE_LOG
from apps.eventlog.log.records import MarkHolder
from apps.eventlog.read import replicas
from apps.eventlog.read.log_state import LogState
from apps.eventlog.read.overview import Overview, held, senders
from apps.eventlog.read.readers import Reader

LATE = 60.0  # seconds that an event may wait for a reader before that is said to be wrong
UNSEALED = 600.0  # seconds without a new seal, if there are events for one
GONE = "the answer was 410"  # the last error of a webhook whose receiver wants no more events: it was switched off


class Page(NamedTuple):
    """A page of the admin: its name, and the permission that it takes. `query` and `part` complete its URL."""

    name: str
    needs: str
    arguments: tuple[object, ...] = ()
    query: Mapping[str, str] = {}
    part: str = ""

    @property
    def url(self) -> str:
        query, part, arguments = urlencode(self.query), self.part, [quote(str(each)) for each in self.arguments]
        return f"{reverse(f'admin:{self.name}', args=arguments)}{query and f'?{query}'}{part and f'#{part}'}"


class Fault(NamedTuple):
    """Something that is wrong now, in one sentence, and the page that puts it right; None if no page can."""

    text: str
    page: Page | None = None

    def document(self, may: Callable[[str], bool]) -> dict[str, str | None]:
        """For somebody who may see what `may` says: the page is null if they may not see it."""
        return {"text": self.text, "page": self.page.url if self.page and may(self.page.needs) else None}


def faults(seen: Overview) -> list[Fault]:
    """What is wrong now, the worst first."""
    return [
        *[Fault(f"{name} does not answer") for name in seen.away],
        *_stopped(seen),
        *_of_the_log(seen.log),
        *[_dead_letters(each) for each, _ in seen.readers if each.dead_letters],
        *[Fault(text, _readers_page(name)) for name, text in seen.jobs],
        *_of_senders(seen),
        *_of_replicas(seen),
        *[
            Fault(_late(_named(each), at.lag_events, at.lag_seconds), _readers_page(each.name))
            for each, at in seen.readers
            if at and at.lag_seconds > LATE
        ],
    ]


def shown_to(may: Callable[[str], bool], found: list[Fault]) -> list[dict[str, str | None]]:
    """The faults that somebody is told of: all, if they may see the log; otherwise those that they can put right."""
    all_of_them = may(SEE_LOG)
    return [each.document(may) for each in found if all_of_them or (each.page and may(each.page.needs))]


def _readers_page(reader: str) -> Page:
    return Page("projectors", "eventlog.view_job", part=f"reader-{reader}")


def _late(who: str, events: int, seconds: float) -> str:
    return f"{who} is late: {events} events wait, the oldest for {seconds:.0f} s"


def _named(reader: Reader) -> str:
    return f"{reader.name} of {reader.service}"


def _dead_letters(reader: Reader) -> Fault:
    query = {"projector": reader.name, "status": "open"}
    page = Page(f"{reader.service}_deadletter_changelist", f"{reader.service}.view_deadletter", query=query)
    return Fault(f"{_named(reader)} has {reader.dead_letters} dead letters", page)


def _stopped(seen: Overview) -> Iterator[Fault]:
    said = "has stopped: the log went back; replay_events repairs that"
    for each, at in seen.readers:
        if each.stopped or (at and at.went_back):
            yield Fault(f"{_named(each)} {said}", _readers_page(each.name))
    for webhook in seen.webhooks:
        if webhook["active"] and webhook["log_went_back"]:
            yield Fault(f"webhook {webhook['id']} {said}", _endpoint(webhook))


def _endpoint(webhook: Mapping[str, Any]) -> Page:
    return Page("webhooks_endpoint_change", "webhooks.view_endpoint", (webhook["id"],))


def _of_the_log(log: LogState | None) -> Iterator[Fault]:
    if log is None:
        return
    seals = Page("eventlog_seal_changelist", "eventlog.view_seal")
    if log.seals_went_back:
        yield Fault("the log went back: the seals are over events that it no longer has", seals)
    for mark in held(log):
        yield Fault(_held_back(mark), Page("projectors", "eventlog.view_job"))
    if 0 < log.sealed < log.safe.position and log.seal_age > UNSEALED:
        yield Fault(f"the log is sealed up to position {log.sealed} alone, for {log.seal_age:.0f} s now", seals)


def _held_back(mark: MarkHolder) -> str:
    return f"an open append holds all readers back at position {mark.position}, for {mark.seconds:.0f} s now"


def _of_senders(seen: Overview) -> Iterator[Fault]:
    for (service, name), each in senders(seen):
        of_relay = service == "relay"
        page = Page("eventlog_relay_change", "eventlog.view_relay", (name,)) if of_relay else _endpoint(each)
        who = f"{name} of {service}"
        if each.get("dead_letters"):
            query = {"endpoint__id__exact": name, "status__exact": "set aside"}
            deliveries = Page("webhooks_delivery_changelist", "webhooks.view_delivery", query=query)
            yield Fault(f"{who} has {each['dead_letters']} dead letters", deliveries)
        if each.get("failing_since") and not each["log_went_back"]:
            yield Fault(f"{who} fails since {each['failing_since']:%Y-%m-%d %H:%M} UTC: {each['last_error']}", page)
        if error := each.get("error"):
            yield Fault(f"{who} cannot send: {error}", page)
        if of_relay and each["log_went_back"]:
            yield Fault(f"{who} has sent events that are not in the log", page)
        if each["lag_seconds"] > LATE:
            yield Fault(_late(who, each["lag_events"], each["lag_seconds"]), page)
    for webhook in seen.webhooks:
        if not webhook["active"] and webhook["last_error"] == GONE:
            yield Fault(f"webhook {webhook['id']} has stopped: {GONE}, its receiver is gone", _endpoint(webhook))


def _of_replicas(seen: Overview) -> Iterator[Fault]:
    for each in seen.replicas:
        who = replicas.named(each["service"])
        if each["log_went_back"]:
            yield Fault(f"{who} shows events that are not in the log")
        if each["lag_seconds"] and each["lag_seconds"] > LATE:
            yield Fault(_late(who, each["lag_events"], each["lag_seconds"]))
