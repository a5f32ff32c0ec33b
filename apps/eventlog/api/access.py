"""Who may call an action of the API. Each action declares it; an action that declares nothing is refused.

Staff act by Django's permissions, in the API as in the admin: `view_<model>` to see, `change_<model>` to send its
commands, and a few of their own (`users.erase_user`, `eventlog.run_job`). None of them implies another. Superusers have
all. Customers have no permission: they act on what is theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth import get_permission_codename
from django.db.models import Model
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.eventlog.commands import Actor

Method = TypeVar("Method", bound=Callable[..., Any])


def permission_to(verb: str, model: type[Model]) -> str:
    """The permission for a verb and a model: `orders.view_order`."""
    return f"{model._meta.app_label}.{get_permission_codename(verb, model._meta)}"


@dataclass(frozen=True, slots=True)
class Access:
    """What staff need to call an action, and who else may: `customers` about what is theirs, `anyone` without a login.

    A `permission` without a dot is a verb, so `view` is `view_<model>` for the model of the viewset. If it is empty,
    any login may.
    """

    permission: str = ""
    customers: bool = False
    anyone: bool = False

    def needed(self, view: Any) -> str:
        """The whole name of the permission, such as `orders.view_order`."""
        if not self.permission or "." in self.permission:
            return self.permission
        return permission_to(self.permission, view.queryset.model)

    def allows(self, login: Any, view: Any) -> bool:
        if not login.is_authenticated:
            return self.anyone
        if login.is_staff:
            return not self.permission or Actor.of(login).may(self.needed(view))
        return self.customers or self.anyone or not self.permission


def open_to(permission: str = "", *, customers: bool = False, anyone: bool = False) -> Callable[[Method], Method]:
    """Declare who may call an action; `Access` says how."""

    def mark(method: Method) -> Method:
        method.__dict__["access"] = Access(permission, customers, anyone)
        return method

    return mark


def declared(view: Any, action: str | None) -> Access | None:
    """What an action of a viewset declares; None if it declares nothing."""
    return getattr(getattr(view, action or "", None), "access", None)


class DeclaredAccess(BasePermission):
    """Asks what the action declares. An action that declares nothing is refused to everybody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not hasattr(view, "action_map"):
            return False
        action = view.action_map.get((request.method or "").lower())
        if action is None:  # OPTIONS shows what a command takes. Any other method is refused later.
            return request.method != "OPTIONS" or request.user.is_authenticated or _open_to_anyone(view)
        access = declared(view, action)
        if access is None or not access.allows(request.user, view):
            self.message = _reason(access, request.user, view)
            return False
        return True


def _open_to_anyone(view: Any) -> bool:
    found = (declared(view, action) for action in view.action_map.values())
    return any(access is not None and access.anyone for access in found)


def _reason(access: Access | None, login: Any, view: Any) -> str:
    if access is None:
        return "no permission has been declared for this"
    return f"this needs the permission {access.needed(view)}" if login.is_staff else "only staff may do this"
