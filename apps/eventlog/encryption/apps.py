"""The data keys as a Django app of their own, so that they have a database of their own."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "apps.eventlog.encryption"
    label = "keys"
    verbose_name = "Data keys"
