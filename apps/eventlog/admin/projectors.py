"""The projectors page: how far each projector has come, and its rebuilds and checks."""

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
from apps.eventlog.projectors import Projector
from apps.eventlog.read import queries
from apps.eventlog.relay.webhooks import endpoints
from apps.eventlog.replay import jobs
from apps.eventlog.replay.rebuild import AlreadyRunning


@needs(SEE_JOBS, POST=RUN_JOBS)
def projectors(request: HttpRequest) -> HttpResponse:
    """Each projector with its position and its last job. A POST of `projector` and `kind` starts a job."""
    if request.method == "POST":
        return _start(request)
    latest = jobs.latest()
    alive = set(jobs.running().values_list("pk", flat=True))
    rows = [
        row
        | {
            "job": (job := latest.get(row["name"])),
            "running": job is not None and job.pk in alive,
            "lost": job is not None and job.finished_at is None and job.pk not in alive,
            "dead_letters_url": reverse(f"admin:{row['service']}_deadletter_changelist"),
        }
        for row in queries.projectors()
    ]
    processes = [
        row | {"dead_letters_url": reverse(f"admin:{row['service']}_deadletter_changelist")}
        for row in queries.processes()
    ]
    stopped = [row["name"] for row in [*rows, *queries.reactors(), *processes] if row["log_went_back"]]
    stopped += [f"webhook {endpoint.pk}" for endpoint in endpoints.went_back()]
    context = {**admin.site.each_context(request), "title": "Projectors", "projectors": rows, "stopped": stopped}
    context["marks"] = queries.mark_holders()
    context["processes"] = processes
    context["kinds"] = Job.Kind if Actor.of(request.user).may(RUN_JOBS) else ()
    return render(request, "eventlog/admin/projectors.html", context)


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
