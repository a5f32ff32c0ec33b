"""URLs: the API of the log and of every service, the admin, the API's own pages, the pages of services for people."""

from importlib import import_module

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from apps.eventlog.api.schema_view import DocsView, SchemaView
from apps.eventlog.read.metrics import metrics
from apps.eventlog.read.pages import demo_login, live

urlpatterns = [
    path("", live, name="home"),
    path("demo-login/", demo_login, name="demo-login"),
    path("admin/", admin.site.urls),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(url_name="schema"), name="docs"),
    *(
        path("api/", include(f"apps.{service}.urls"))
        for service in (*settings.SERVICES, settings.EVENTLOG)  # in the order in which a request looks for its view
        if service not in settings.LEFT_OUT
    ),
    *(
        path("", include(getattr(import_module(f"apps.{service}.urls"), "pages", [])))
        for service in settings.SERVICES
        if service not in settings.LEFT_OUT
    ),
    path("metrics", metrics, name="metrics"),
]
if "users" in settings.LEFT_OUT:  # which has these pages; those of the admin do the same for staff
    urlpatterns += [
        path("login/", RedirectView.as_view(pattern_name="admin:login", query_string=True), name="login"),
        path("logout/", admin.site.logout, name="logout"),
    ]
