"""The projectors page: what is wrong now, how far each reader has come, and rebuilds and checks of projectors."""

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from apps.eventlog.admin import html
from apps.eventlog.admin.html import table
from apps.eventlog.admin.pages import RUN_JOBS, SEE_JOBS, needs
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.commands import Actor
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.models import Job
from apps.eventlog.monitoring import instruments
from apps.eventlog.projectors import Projector
from apps.eventlog.read import queries
from apps.eventlog.read.faults import faults
from apps.eventlog.read.overview import Overview, overview
from apps.eventlog.replay import jobs
from apps.eventlog.replay.rebuild_lock import AlreadyRunning

LETTERS = 10  # dead letters of each service on the page


@needs(SEE_JOBS, POST=RUN_JOBS)
def projectors(request: HttpRequest) -> HttpResponse:
    """What is wrong, and each reader; a projector with its last jobs. A POST of `projector` and `kind` starts a job."""
    if request.method == "POST":
        return _start(request)
    seen, durations, may = overview(), instruments.batch_durations(), Actor.of(request.user).may
    groups = [
        (plural.capitalize(), [_row(each) for each in queries.readers(seen, kind, durations)])
        for kind, plural in queries.KINDS.items()
    ]
    rows = [row for _, rows in groups for row in rows]
    _add_ages(rows, seen)
    _mark_slowest(rows)
    _add_jobs(rows)
    context = {**admin.site.each_context(request), "title": "Projectors and reactors", "groups": groups}
    context |= {
        "faults": [each.document(may) for each in faults(seen)],
        "log": seen.log,
        "marks": queries.marks(seen.log),
    }
    context |= {"letters": _dead_letters(seen), "kinds": Job.Kind if may(RUN_JOBS) else ()}
    return render(request, "eventlog/admin/projectors.html", context)


def _row(reader: dict[str, Any]) -> dict[str, Any]:
    rebuilt = reader["name"] in Projector.registry
    where = f"{reader['service']}_deadletter_changelist"
    letters = html.link(reader["dead_letters"], where, projector=reader["name"], status="open")
    return reader | {"rebuilt": rebuilt, "letters": letters if reader["dead_letters"] else 0}


def _add_ages(rows: list[dict[str, Any]], seen: Overview) -> None:
    """Say when each reader last took something, which may be long ago if nothing happens that it follows."""
    moved = {reader.key: reader.moved_at for reader, _ in seen.readers}
    for row in rows:
        row["moved_at"] = moved.get((row["service"], row["name"]))


def _mark_slowest(rows: list[dict[str, Any]]) -> None:
    """Mark the reader that takes the longest for a batch, if several are known; all of them wait for such a one."""
    known = [row for row in rows if row["batch_ms"] is not None]
    for row in rows:
        row["slowest"] = len(known) > 1 and row is max(known, key=lambda each: float(each["batch_ms"]))


def _add_jobs(rows: list[dict[str, Any]]) -> None:
    """Say of each reader what became of its last job, how long its last rebuild took, and what the next will take."""
    latest, done, alive = jobs.latest(), jobs.last_done(), set(jobs.running().values_list("pk", flat=True))
    for row in rows:
        job = row["job"] = latest.get(row["name"])
        row["running"] = job is not None and job.pk in alive
        row["lost"] = job is not None and job.finished_at is None and job.pk not in alive
        row["rebuild"] = _took(done.get((row["name"], Job.Kind.REBUILD)))
        row["estimates"] = {kind: _took(done.get((row["name"], kind))) for kind in Job.Kind.values}
        row["left"] = _left(job, done.get((row["name"], job.kind))) if job and row["running"] else None


def _took(job: Job | None) -> float | None:
    """The seconds that a job took; None if there is none."""
    return (job.finished_at - job.started_at).total_seconds() if job and job.finished_at else None


def _left(job: Job, before: Job | None) -> float | None:
    """About how many seconds a running job still takes, by its pace so far, or by the last one of its kind."""
    spent = (timezone.now() - job.started_at).total_seconds()
    if job.done and job.total:
        return max(0.0, spent * (job.total - job.done) / job.done)
    took = _took(before)
    return None if took is None else max(0.0, took - spent)


def _dead_letters(seen: Overview) -> list[dict[str, Any]]:
    """The newest dead letters of all services that are open, of those that one may see."""
    services = sorted({reader.service for reader, _ in seen.readers if reader.dead_letters})
    return [
        {
            "reader": letter.projector,
            "service": service,
            "link": html.link(letter.get_status_display(), f"{service}_deadletter_change", letter.pk),
            "event": html.event_link(letter.position),
            "row": html.stream_link(letter.stream),
            "error": letter.error,
            "parked_at": letter.parked_at,
        }
        for service in services
        if html.may_see(service, "deadletter")
        for letter in open_dead_letters(service).order_by("-parked_at", "-position")[:LETTERS]
    ]


def _start(request: HttpRequest) -> HttpResponse:
    kind, what = Projector.registry.get(request.POST.get("projector", "")), request.POST.get("kind", "")
    if kind is None or what not in Job.Kind:
        raise Http404
    try:
        jobs.start(kind, what, by=request.user.get_username())
    except AlreadyRunning as busy:
        messages.warning(request, str(busy))
    return redirect("admin:projectors")


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "kind", "projector", "outcome", "started_by", "finished_at")
    list_filter = ("kind",)
    actions = None
    exclude = ("differences",)
    readonly_fields = ("found", "reader")

    @admin.display(description="reader")
    def reader(self, job: Job) -> SafeString:
        return html.linked(
            "start it again, or see how far it is", f"{reverse('admin:projectors')}#reader-{job.projector}"
        )

    @admin.display(description="differences")
    def found(self, job: Job) -> SafeString:
        return table(["Table", "Key", "Field"], job.differences) if job.differences else SafeString("none")
