"""The users service as a Django app."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    name = "apps.users"
