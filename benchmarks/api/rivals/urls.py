"""The rivals' resources, and a view that does nothing: the limit of Django under this server."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from benchmarks.api.rivals.views import OrderViewSet, TrackedOrderViewSet

router = SimpleRouter(use_regex_path=False)
router.register("plain", OrderViewSet)
router.register("tracked", TrackedOrderViewSet)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"{}", content_type="application/json")


urlpatterns = [path("nothing", nothing), path("", include(router.urls))]
