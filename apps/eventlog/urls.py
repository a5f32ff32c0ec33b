"""URLs of the event log."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.eventlog.api.webhook_viewset import WebhookViewSet
from apps.eventlog.read.viewsets import EventReadViewSet

router = SimpleRouter(use_regex_path=False)
router.register("events", EventReadViewSet, basename="event")
router.register("webhooks", WebhookViewSet, basename="webhook")

urlpatterns = [path("", include(router.urls))]
