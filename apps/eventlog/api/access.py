"""Who may call an action of the API: declared at each action, and refused where nothing is declared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.eventlog.permissions import actor_of, permission_to

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """What staff need, and who else may call an action: customers for what is theirs, anyone without a login.

    A `permission` without a dot is a verb: `view` is that of the viewset's model. Without a permission any login may.
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
            return not self.permission or actor_of(login).may(self.needed(view))
        return self.customers or self.anyone or not self.permission


def open_to(permission: str = "", *, customers: bool = False, anyone: bool = False) -> Callable[[Method], Method]:
    """Declare who may call an action: staff with this permission, and customers or anyone if it says so."""

    def mark(method: Method) -> Method:
        method.__dict__["access"] = Access(permission, customers, anyone)
        return method

    return mark


def declared(view: Any, action: str | None) -> Access | None:
    """What an action of a viewset declares; None where nobody has said who may call it."""
    return getattr(getattr(view, action or "", None), "access", None)


class DeclaredAccess(BasePermission):
    """Asks what the action declares. One that declares nothing is refused to everybody."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not hasattr(view, "action_map"):
            return False
        action = view.action_map.get((request.method or "").lower())
        if action is None:  # OPTIONS shows what a command takes; other methods there are none
            return request.user.is_authenticated or request.method != "OPTIONS"
        access = declared(view, action)
        if access is None or not access.allows(request.user, view):
            self.message = _reason(access, request.user, view)
            return False
        return True


def _reason(access: Access | None, login: Any, view: Any) -> str:
    if access is None:
        return "nobody has said who may do this"
    return f"this needs the permission {access.needed(view)}" if login.is_staff else "only staff may do this"
