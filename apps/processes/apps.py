"""The business processes as a Django app: every file in its folder is found."""

from importlib import import_module
from pkgutil import iter_modules

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured

from apps.eventlog.registry import DuplicateName


class ProcessesConfig(AppConfig):
    name = "apps.processes"
    verbose_name = "Processes"

    def ready(self) -> None:
        """Import every process. The admin finds its pages by itself."""
        try:
            for module in iter_modules([self.path]):
                if module.name not in ("admin", "apps", "migrations", "models"):
                    import_module(f"{self.name}.{module.name}")
        except DuplicateName as error:
            raise ImproperlyConfigured(str(error)) from error
