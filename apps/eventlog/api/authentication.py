"""Authentication of requests: by a bearer token, or by the session cookie of the admin."""

from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from apps.eventlog.database import prepared
from apps.eventlog.live.credentials import Credential

User = get_user_model()


class BearerAuthentication(TokenAuthentication):
    """`Authorization: Bearer <token>`."""

    def authenticate_credentials(self, token: bytes) -> tuple[object, AuthToken]:
        """The user and the token; to delete others that have expired is not the work of a request."""
        row = prepared.first(_with_user, digest=hash_token(token.decode())) if token.isalnum() else None
        if row is None:
            raise AuthenticationFailed("invalid token")
        values, known = list(row), len(_columns(AuthToken))
        found = AuthToken.from_db(AuthToken.objects.db, _columns(AuthToken), values[:known])
        found.user = User.from_db(found._state.db, _columns(User), values[known:])
        if found.expiry is not None and found.expiry < timezone.now():
            raise AuthenticationFailed("invalid token")
        return self.validate_user(found)


def _with_user(*, digest: str) -> QuerySet[Any, Any]:
    """The columns of a token, and then those of its user."""
    user = [f"user__{column}" for column in _columns(User)]
    return AuthToken.objects.filter(digest=digest).values_list(*_columns(AuthToken), *user)


@cache
def _columns(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


class CookieAuthentication(SessionAuthentication):
    """The session cookie of the admin, with CSRF protection."""


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the API's schema describes the token."""

    target_class = BearerAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class CookieScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the API's schema describes the session."""

    target_class = CookieAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


def customer_id(request: Request) -> UUID | None:
    """The user id of a customer, None for staff; raises PermissionDenied for a login that is neither."""
    if request.user.is_staff:
        return None
    try:
        return UUID(request.user.get_username())
    except ValueError:
        raise PermissionDenied("this login is neither staff nor a customer") from None


def credential_of(request: Request) -> Credential:
    """The token or session of an authenticated request, so that a stream can check later whether it is still valid."""
    login, is_staff = request.user.get_username(), request.user.is_staff
    if isinstance(request.auth, AuthToken):
        return Credential(login, is_staff, token=request.auth.digest)
    return Credential(login, is_staff, session=request.session.session_key or "")
