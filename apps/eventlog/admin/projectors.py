"""The projectors page: what is wrong now, how far each reader has come, and rebuilds and checks of projectors."""

from typing import Any

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString

from apps.eventlog.admin.html import table
from apps.eventlog.admin.pages import RUN_JOBS, SEE_JOBS, needs
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.commands import Actor
from apps.eventlog.models import Job
from apps.eventlog.monitoring import instruments
from apps.eventlog.projectors import Projector
from apps.eventlog.read import queries
from apps.eventlog.read.faults import faults
from apps.eventlog.read.overview import overview
from apps.eventlog.replay import jobs
from apps.eventlog.replay.rebuild_lock import AlreadyRunning


@needs(SEE_JOBS, POST=RUN_JOBS)
def projectors(request: HttpRequest) -> HttpResponse:
    """What is wrong, and each reader; a projector with its last job. A POST of `projector` and `kind` starts a job."""
    if request.method == "POST":
        return _start(request)
    seen, durations = overview(), instruments.batch_durations()
    groups = [
        (plural.capitalize(), [_row(each) for each in queries.readers(seen, kind, durations)])
        for kind, plural in queries.KINDS.items()
    ]
    _add_jobs([row for _, rows in groups for row in rows])
    context = {**admin.site.each_context(request), "title": "Projectors", "groups": groups}
    may = Actor.of(request.user).may
    context["faults"] = [each.document(may) for each in faults(seen)]
    context |= {"log": seen.log, "marks": queries.marks(seen.log)}
    context["kinds"] = Job.Kind if may(RUN_JOBS) else ()
    return render(request, "eventlog/admin/projectors.html", context)


def _row(reader: dict[str, Any]) -> dict[str, Any]:
    rebuilt = reader["name"] in Projector.registry
    return reader | {
        "rebuilt": rebuilt,
        "dead_letters_url": reverse(f"admin:{reader['service']}_deadletter_changelist"),
    }


def _add_jobs(rows: list[dict[str, Any]]) -> None:
    """Say of each reader what became of its last rebuild or check, if it ever had one."""
    latest, alive = jobs.latest(), set(jobs.running().values_list("pk", flat=True))
    for row in rows:
        job = row["job"] = latest.get(row["name"])
        row["running"] = job is not None and job.pk in alive
        row["lost"] = job is not None and job.finished_at is None and job.pk not in alive


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
    readonly_fields = ("found",)

    @admin.display(description="differences")
    def found(self, job: Job) -> SafeString:
        return table(["Table", "Key", "Field"], job.differences) if job.differences else SafeString("none")
