"""The OpenAPI schema of the API, generated once by each process: that takes long enough to be an attack."""

from functools import cache
from threading import Lock
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request

from apps.eventlog.api.options import MethodsAlone

_lock = Lock()  # so that requests at the same instant generate it once too


class DocsView(MethodsAlone, SpectacularSwaggerSplitView):
    """The pages that show the schema."""


class SchemaView(MethodsAlone, SpectacularAPIView):
    """The schema as YAML or JSON, as `Accept` asks. It is the same for everybody."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer  # type: ignore[attr-defined]
        headers = {
            "Content-Disposition": f'inline; filename="{settings.SPECTACULAR_SETTINGS["TITLE"]}.{renderer.format}"'
        }
        as_json = renderer.media_type.endswith("json")  # which is UTF-8 anyway
        content_type = renderer.media_type if as_json else f"{renderer.media_type}; charset=utf-8"
        return HttpResponse(_document(type(renderer)), content_type=content_type, headers=headers)


def _document(renderer: Any) -> bytes:
    with _lock:
        return _rendered(renderer)


@cache
def _rendered(renderer: Any) -> bytes:
    return renderer().render(_schema())


@cache
def _schema() -> Any:
    generator: Any = SchemaGenerator
    return generator().get_schema(public=True)
