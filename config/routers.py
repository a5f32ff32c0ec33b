"""The database of a model: a service's models are in its own database, all others in `default`."""

from django.conf import settings
from django.db.models import Model


class ServiceRouter:
    """Gives every model one definite database by its app label; never answers None."""

    def alias(self, app_label: str) -> str:
        return app_label if app_label in (*settings.SERVICES, settings.EVENTLOG) else "default"

    def db_for_read(self, model: type[Model], **hints: object) -> str:
        return self.alias(model._meta.app_label)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: object) -> bool:
        return self.alias(one._meta.app_label) == self.alias(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == self.alias(app_label)
