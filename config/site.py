"""The admin site: pages of all databases, those of the services first."""

from functools import partial, wraps
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

MACHINERY = "Machinery"  # keys, checkpoints, seals, reservations: what works by itself and is seldom looked at


class Site(AdminSite):
    site_header = site_title = "Headrace"
    index_title = "Admin"
    index_template = "eventlog/admin/index.html"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register pages, each with `CheckedLookups`, whoever wrote it; none of a service that SERVE leaves out."""
        page = admin_class or ModelAdmin
        models: list[Any] = [model_or_iterable] if isinstance(model_or_iterable, ModelBase) else model_or_iterable
        served = [model for model in models if model._meta.app_label not in settings.LEFT_OUT]
        super().register(served, type(page.__name__, (CheckedLookups, page), {}), **options)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from apps.eventlog.admin.faults import wrong  # noqa: PLC0415  (they need the models)
        from apps.eventlog.admin.find import find  # noqa: PLC0415
        from apps.eventlog.admin.projectors import projectors  # noqa: PLC0415

        own = {"projectors": projectors, "find": find, "wrong": wrong}
        return [
            *(path(f"{name}/", self.admin_view(page), name=name) for name, page in own.items()),
            *super().get_urls(),
        ]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Let the page know who looks at it: it has links only to what they may see."""
        from apps.eventlog.admin.html import Viewer, viewer  # noqa: PLC0415  (needs the apps)

        @wraps(view)
        def seen(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            viewer.set(Viewer(Actor.of(request.user)))
            return view(request, *args, **kwargs)

        return super().admin_view(seen, cacheable)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from apps.eventlog.admin.faults import shown_to  # noqa: PLC0415  (needs the models)

        return super().index(request, (extra_context or {}) | {"faults": shown_to(request)})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Services, processes, the log, webhooks, logins with tokens; what serves them comes last, as machinery.

        The models of each are in the order of models.py.
        """
        listed = self._build_app_dict(request, app_label)
        if tokens := listed.pop("knox", None):
            listed.setdefault("auth", tokens | {"models": []})["models"] += tokens["models"]
        if "auth" in listed:
            listed["auth"]["name"] = "Logins"  # a login is not a user: staff have one too, and an erased user has none
        for label, app in listed.items():
            app["database"] = label if label in settings.OWN_DATABASES else "default"
            for model in app["models"]:
                model["about"] = getattr(self._registry[model["model"]], "about_it", "") or _about(model["model"])
        if settings.EVENTLOG in listed and Actor.of(request.user).may(SEE_JOBS):
            listed[settings.EVENTLOG]["models"].append(_projectors())
        for label, app in listed.items():
            app["models"].sort(key=partial(_place, list(apps.get_app_config(label).get_models())))
        found = [listed[label] for label in sorted(listed, key=[*settings.OWN_DATABASES, *listed].index)]
        return found if app_label else self._apart(found)

    def _apart(self, found: list[Any]) -> list[Any]:
        """The lists that people work with, app by app, and below them those of the machinery of all apps."""
        machinery = []
        for app in found:
            inner = [model for model in app["models"] if self._is_machinery(model)]
            app["models"] = [model for model in app["models"] if model not in inner]
            machinery += [model | {"of": app["name"]} for model in inner]
        last = {"name": MACHINERY, "app_label": "machinery", "app_url": reverse("admin:index"), "models": machinery}
        return [app for app in found if app["models"]] + ([last | {"folded": True}] if machinery else [])

    def _is_machinery(self, entry: Any) -> bool:
        return getattr(self._registry.get(entry.get("model")), "is_machinery", False)


def _place(order: list[Any], entry: Any) -> int:
    """The place of an entry: that of its model, and for the projectors page the one after the events."""
    return 2 * order.index(entry["model"]) if entry.get("model") in order else 1


def _projectors() -> dict[str, Any]:
    """The entry of the projectors page, in the form of a model's entry."""
    about = "How far each reader of the log is, and which one is slow. Rebuild one, or compare it with the log."
    links = {"admin_url": reverse("admin:projectors"), "add_url": None, "view_only": True}
    return {"name": "Projectors and reactors", "object_name": "Projectors", "about": about, **links}


class SiteConfig(AdminConfig):
    default_site = "config.site.Site"


def _about(model: type) -> str:
    """The first line of the docstring of one of our models; empty if Django has made the docstring up."""
    texts = (kind.__doc__ or "" for kind in model.__mro__ if kind.__module__.startswith("apps."))
    return next((text.split("\n")[0] for text in texts if not text.startswith(f"{model.__name__}(")), "").replace(
        "`", ""
    )
