"""The admin site: pages of all databases, those of the services first."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.apps import AdminConfig
from django.db.models.base import ModelBase
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver, path, reverse

from apps.eventlog.admin.lookups import CheckedLookups
from apps.eventlog.admin.pages import SEE_JOBS
from apps.eventlog.commands import Actor


class Site(AdminSite):
    site_header = site_title = "Headrace"
    index_title = "Databases"
    index_template = "eventlog/admin/index.html"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register pages, each with `CheckedLookups`, whoever wrote it; none of a service that SERVE leaves out."""
        page = admin_class or ModelAdmin
        models: list[Any] = [model_or_iterable] if isinstance(model_or_iterable, ModelBase) else model_or_iterable
        served = [model for model in models if model._meta.app_label not in settings.LEFT_OUT]
        super().register(served, type(page.__name__, (CheckedLookups, page), {}), **options)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from apps.eventlog.admin.projectors import projectors  # noqa: PLC0415  (needs the models)

        return [path("projectors/", self.admin_view(projectors), name="projectors"), *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Services, processes, log, keys, then logins with tokens; the models of each in the order of models.py."""
        listed = self._build_app_dict(request, app_label)
        for label, app in listed.items():
            order = list(apps.get_app_config(label).get_models())
            app["models"].sort(key=lambda model, order=order: order.index(model["model"]))
        if tokens := listed.pop("knox", None):
            listed.setdefault("auth", tokens | {"models": []})["models"] += tokens["models"]
        if "auth" in listed:
            listed["auth"]["name"] = "Logins"
        for label, app in listed.items():
            app["database"] = label if label in settings.OWN_DATABASES else "default"
            for model in app["models"]:
                model["about"] = _about(model["model"])
        if settings.EVENTLOG in listed and Actor.of(request.user).may(SEE_JOBS):
            listed[settings.EVENTLOG]["models"].insert(1, _projectors())
        return [listed[label] for label in sorted(listed, key=[*settings.OWN_DATABASES, *listed].index)]


def _projectors() -> dict[str, Any]:
    """The entry of the projectors page, in the form of a model's entry."""
    about = "The position of each projector. Rebuild one, or compare it with the log."
    links = {"admin_url": reverse("admin:projectors"), "add_url": None, "view_only": True}
    return {"name": "Projectors", "object_name": "Projectors", "about": about, **links}


class SiteConfig(AdminConfig):
    default_site = "config.site.Site"


def _about(model: type) -> str:
    """The first line of the docstring of one of our models; empty if Django has made the docstring up."""
    texts = (kind.__doc__ or "" for kind in model.__mro__ if kind.__module__.startswith("apps."))
    return next((text.split("\n")[0] for text in texts if not text.startswith(f"{model.__name__}(")), "").replace(
        "`", ""
    )
