"""The users service as a Django app."""

from typing import Any

from django.apps import AppConfig
from django.contrib.auth import get_user_model
from django.db.models.signals import post_migrate


class UsersConfig(AppConfig):
    name = "apps.users"

    def ready(self) -> None:
        """Keep the names of logins in Django's auth apart from the addresses of users."""
        from apps.users.write import login_names  # noqa: PLC0415  (needs the models)

        login = get_user_model()
        post_migrate.connect(login_names.add_index, sender=self, dispatch_uid="login names")
        name: Any = login._meta.get_field(login.USERNAME_FIELD)
        if login_names.require_no_address not in name.validators:  # a change of INSTALLED_APPS calls this again
            name.validators.append(login_names.require_no_address)
