"""Webhooks in the admin: endpoints with how far they are, and the events that they have not taken."""

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from apps.eventlog.admin.actions import MOST, Act, Refused, action
from apps.eventlog.admin.html import event_link, link, pretty, stream_link
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.api.conditions import not_stored
from apps.eventlog.api.webhook_serializers import LOOK_UP
from apps.eventlog.events import DomainEvent
from apps.eventlog.relay.webhooks import addresses, endpoints, progress
from apps.eventlog.relay.webhooks.models import Delivery, Endpoint


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an endpoint; what the URL must be is what the API asks for too."""

    url = forms.CharField(
        label="URL", max_length=addresses.LONGEST, widget=forms.URLInput(attrs={"size": 80, "autofocus": True})
    )
    event_types = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="None means all, also those of later versions."
    )

    class Meta:
        model = Endpoint
        fields = ("url", "event_types", "active")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        named = {*DomainEvent.types, *self.instance.event_types}
        self.fields["event_types"].choices = [(name, name) for name in sorted(named)]  # type: ignore[attr-defined]

    def clean_url(self) -> str:
        try:
            url = addresses.checked_url(self.cleaned_data["url"])
            addresses.require_allowed(url, LOOK_UP)
        except addresses.Refused as refused:
            raise forms.ValidationError(f"{refused}") from refused
        return url


def _switch(*, on: bool) -> Callable[[HttpRequest, Endpoint, str], object]:
    def do(request: HttpRequest, endpoint: Endpoint, _: str) -> object:
        endpoints.change(endpoint.pk, {"active": on})
        return "goes on where it was" if on else "gets no more events"

    return do


def _unless_active(endpoint: Endpoint) -> str:
    return "" if endpoint.active else "it is stopped already"


def _if_active(endpoint: Endpoint) -> str:
    return "it is not stopped" if endpoint.active else ""


def _stopping(rows: Sequence[Endpoint]) -> list[str]:
    said = "Events that come meanwhile are kept for it: if it is started again, it goes on where it was."
    return [said] if rows else []


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    """The secret of a new endpoint is on the page that answers the form, and nowhere else."""

    form = EndpointForm
    add_form_template = change_form_template = "eventlog/admin/endpoint.html"
    change_list_template = "eventlog/admin/endpoints.html"
    list_display = ("url", "types", "active", "lag", "dead_letters", "failing_since", "last_error")
    fieldsets = (
        (None, {"fields": ("url", "event_types", "active")}),
        ("How far it is", {"fields": ("place", "lag", "dead_letters", "sent", "failing_since", "last_error")}),
    )
    readonly_fields = ("place", "lag", "dead_letters", "sent", "failing_since", "last_error")
    actions = ("stop", "start", "new_secret", "send_again")
    stop = action(
        Act("Stop", _switch(on=False), asks="", unless=_unless_active, follows=_stopping), description="Stop it"
    )
    start = action(Act("Start", _switch(on=True), asks="", unless=_if_active), description="Start it again")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may(request, "view") and self.may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may(request, "view") and self.may(request, "delete")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.fieldsets if obj else self.fieldsets[:1]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.readonly_fields if obj else ()

    @admin.display(description="event types")
    def types(self, endpoint: Endpoint) -> str:
        return Truncator(", ".join(endpoint.event_types) or "all").chars(80)

    @admin.display
    def lag(self, endpoint: Endpoint) -> str:
        document = self._document(endpoint)
        events, seconds = document["lag_events"], document["lag_seconds"]
        return f"{events} events, the first of {seconds:.0f} seconds ago" if events else "none"

    @admin.display
    def dead_letters(self, endpoint: Endpoint) -> int:
        found: int = self._document(endpoint)["dead_letters"]
        return found

    @admin.display
    def place(self, endpoint: Endpoint) -> SafeString | str:
        if endpoint.event_id is None or self._document(endpoint)["log_went_back"]:
            return f"position {endpoint.position}"
        return event_link(endpoint.position, f"position {endpoint.position}")

    def _document(self, endpoint: Endpoint) -> dict[str, Any]:
        """How far it is, found once for each row of a page."""
        if "document" not in endpoint.__dict__:
            [endpoint.__dict__["document"]] = progress.documents([endpoint])
        found: dict[str, Any] = endpoint.__dict__["document"]
        return found

    def save_model(self, request: HttpRequest, obj: Endpoint, form: EndpointForm, change: bool) -> None:
        fields = form.cleaned_data
        if change:
            endpoints.change(obj.pk, fields)
            return
        made, request.META["webhooks.secret"] = endpoints.create(
            fields["url"], fields["event_types"], active=fields["active"]
        )
        obj.__dict__.update(made.__dict__)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any) -> Any:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **more)

    def delete_model(self, request: HttpRequest, obj: Endpoint) -> None:
        endpoints.delete(obj.pk)

    def response_add(self, request: HttpRequest, obj: Endpoint, post_url_continue: str | None = None) -> HttpResponse:
        return self._secret_page(request, obj, request.META.pop("webhooks.secret"))

    @admin.action(description="New secret", permissions=["act"])
    def new_secret(self, request: HttpRequest, rows: QuerySet[Endpoint]) -> HttpResponse | None:
        chosen = list(rows[:2])
        if len(chosen) != 1:
            self.message_user(request, "New secret: choose one endpoint", messages.ERROR)
            return None
        return self._secret_page(request, chosen[0], endpoints.rotate_secret(chosen[0].pk))

    @admin.action(description="Send again what waits or is set aside", permissions=["resend"])
    def send_again(self, request: HttpRequest, rows: QuerySet[Endpoint]) -> None:
        by = request.user.get_username()
        count = sum(endpoints.send_again(row.pk, by, Delivery.objects.all()) for row in rows[:MOST])
        self.message_user(request, f"{count} deliveries are sent again now")

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return DeliveryAdmin(Delivery, self.admin_site).has_act_permission(request)

    def _secret_page(self, request: HttpRequest, endpoint: Endpoint, secret: str) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "The secret of the endpoint"}
        page = render(request, "eventlog/admin/secret.html", context | {"endpoint": endpoint, "secret": secret})
        return not_stored(page)  # type: ignore[no-any-return]


def _settled(row: Delivery) -> str:
    return "" if row.status in Delivery.OPEN else f"it is settled already: {row.status}"


def _send_again(request: HttpRequest, row: Delivery, _: str) -> object:
    by = request.user.get_username()
    if not endpoints.send_again(row.endpoint_id, by, Delivery.objects.filter(pk=row.pk)):
        raise Refused("it is settled already")
    return "is sent again now"


def _skip(request: HttpRequest, row: Delivery, reason: str) -> object:
    by = request.user.get_username()
    if not endpoints.skip(row.endpoint_id, by, reason, Delivery.objects.filter(pk=row.pk)):
        raise Refused("it is settled already")
    return "will be skipped"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("position", "status", "to", "of", "attempts", "why", "next_attempt_at")
    list_select_related = ("endpoint",)
    list_filter = ("status",)
    search_fields = ("=stream",)
    search_hint = "A stream, or the id of an order, a user or an event, or its beginning."
    actions = ("send_again", "skip")
    exclude = ("position", "acts", "endpoint", "stream")
    readonly_fields = ("receiver", "event", "of", "acts_of_people")
    send_again = action(Act("Send again", _send_again, asks="", unless=_settled))
    skip = action(Act("Skip", _skip, unless=_settled), description="Skip for ever, with a reason")

    @admin.display(description="endpoint")
    def to(self, delivery: Delivery) -> str:
        return Truncator(delivery.endpoint.url).chars(40)

    @admin.display(description="endpoint")
    def receiver(self, delivery: Delivery) -> SafeString:
        return link(delivery.endpoint.url, "webhooks_endpoint_change", delivery.endpoint_id)

    @admin.display(description="error")
    def why(self, delivery: Delivery) -> str:
        return Truncator(delivery.error).chars(60)

    @admin.display
    def event(self, delivery: Delivery) -> SafeString:
        return event_link(delivery.position, f"{delivery.type} at position {delivery.position}")

    @admin.display(description="row")
    def of(self, delivery: Delivery) -> SafeString:
        return stream_link(delivery.stream)

    @admin.display
    def acts_of_people(self, delivery: Delivery) -> SafeString:
        return pretty(delivery.acts)
