"""The database of each model: each service, the processes, the log and the keys have their own; `default` the rest."""

from django.conf import settings
from django.db.models import Model


class ServiceRouter:
    """Finds the one database of a model by its app label. Never answers None, which would let Django decide."""

    def alias(self, app_label: str) -> str:
        return app_label if app_label in settings.OWN_DATABASES else "default"

    def db_for_read(self, model: type[Model], **hints: object) -> str:
        return self.alias(model._meta.app_label)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: object) -> bool:
        return self.alias(one._meta.app_label) == self.alias(other._meta.app_label)

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == self.alias(app_label)
