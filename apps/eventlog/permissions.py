"""Who may do what: one decision for the API, for commands and for the admin.

Staff act by Django's permissions: `view_<model>` to see, `change_<model>` to send its commands, and some of their own
(`users.erase_user`, `eventlog.run_job`). None of them implies another; superusers have all. Customers have no
permission: they act on what is theirs.
"""

from typing import Any

from django.contrib.auth import get_permission_codename
from django.db.models import Model

from apps.eventlog.commands import Actor

SEE_LOG = "eventlog.view_storedevent"
SEE_JOBS = "eventlog.view_job"
RUN_JOBS = "eventlog.run_job"


def actor_of(login: Any) -> Actor:
    """The sender that a login of Django's auth stands for; customers are named by their user id.

    The login is asked for a permission when somebody needs to know, and remembers what it found.
    """
    return Actor(login.get_username(), login.is_staff, login.has_perm)


def permission_to(verb: str, model: type[Model]) -> str:
    """The permission for a verb and a model: `orders.view_order`."""
    return f"{model._meta.app_label}.{get_permission_codename(verb, model._meta)}"
