"""The commands of the users service over HTTP, and logging in and out."""

from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AbstractBaseUser
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from apps.eventlog.api.access import DeclaredAccess, open_to
from apps.eventlog.api.authentication import customer_id
from apps.eventlog.api.command_serializer import NothingSerializer
from apps.eventlog.api.command_viewset import CommandViewSet, takes
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.throttles import Slots, address_of, network_of
from apps.eventlog.commands import Actor
from apps.users.write import credentials, logins
from apps.users.write.commands import ChangeEmail, DeactivateUser, EraseUser, ReactivateUser, RegisterUser, RenameUser
from apps.users.write.serializers import (
    ChangeEmailSerializer,
    ChangePasswordSerializer,
    DeactivateUserSerializer,
    EraseUserSerializer,
    LoginSerializer,
    RegisterUserSerializer,
    RenameUserSerializer,
    TokenSerializer,
)


class WrongCredentials(APIException):
    """The same answer for an unknown user and a wrong password."""

    status_code = 401
    default_detail = "unknown user or wrong password"
    auth_header = "Bearer"


class UserWriteViewSet(CommandViewSet):
    """The commands, by POST only."""

    problems = dict.fromkeys(("rename", "change_email", "deactivate", "reactivate"), (410,))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        mine = customer_id(request) if request.method == "POST" and self.action and "pk" in kwargs else None
        if mine not in (None, kwargs.get("pk")):
            raise NotFound("not found")

    @takes(RegisterUserSerializer, RegisterUser, anyone=True)
    def create(self, request: Request) -> Response:
        """Register oneself, or as staff another user, with a login."""
        fields = self.fields()
        password, user_id = fields.pop("password"), uuids.uuid7()
        if self.answered:
            return self.answer(self.answered, created=True)
        if not request.user.is_staff:
            Slots("registration", network_of(address_of(request))).take()
        actor = Actor.of(request.user) if request.user.is_staff else Actor.customer(user_id)
        with logins.opening(user_id, password):
            return self.send(RegisterUser(user_id, **fields), actor=actor, created=True)

    @takes(RenameUserSerializer, RenameUser)
    @action(detail=True, methods=["post"])
    def rename(self, request: Request, pk: UUID) -> Response:
        """Give a user another name."""
        return self.send(RenameUser(pk, **self.fields()))

    @takes(ChangeEmailSerializer, ChangeEmail)
    @action(detail=True, methods=["post"], url_path="change-email")
    def change_email(self, request: Request, pk: UUID) -> Response:
        """Give a user another e-mail address, with which the user also logs in. The person sends the password too."""
        fields = self.fields()
        if "password" in fields and not self.answered:
            username = request.user.get_username()
            authenticated(request, username, fields["password"])
            Slots("change_email", username).take()  # because the answer tells whether an address is taken
        return self.send(ChangeEmail(pk, fields["email"]))

    @takes(DeactivateUserSerializer, DeactivateUser)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: UUID) -> Response:
        """Close a user's login and revoke every token; unpaid orders are cancelled."""
        return self.send(DeactivateUser(pk, **self.fields()))

    @takes(NothingSerializer, ReactivateUser)
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, pk: UUID) -> Response:
        """Let a deactivated user log in again; for staff."""
        return self.send(ReactivateUser(pk, **self.fields()))

    @takes(EraseUserSerializer, EraseUser)
    @action(detail=True, methods=["post"])
    def erase(self, request: Request, pk: UUID) -> Response:
        """Forget the person for ever: their personal data in the log and the rows becomes `[erased]`, orders stay."""
        fields = self.fields()
        if "password" in fields and not self.answered:
            authenticated(request, request.user.get_username(), fields["password"])
        return self.send(EraseUser(pk, fields.get("reason", "asked for by the person")))


def authenticated(request: Request, username: str, password: str) -> AbstractBaseUser:
    """The login with this name and password. Raises `WrongCredentials` and `Throttled`."""
    login = logins.authenticate(username, password, address_of(request))
    if login is None:
        raise WrongCredentials
    return login


class LoginViewSet(ViewSet):
    """Bearer tokens, and the end of them and of sessions, by POST only."""

    permission_classes = [DeclaredAccess]
    problems = {"login": (429,), "change_password": (429,)}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        check_parameters(request, set())

    @open_to(anyone=True)
    @extend_schema(request=LoginSerializer, responses={200: TokenSerializer})
    @action(detail=False, methods=["post"], authentication_classes=[])
    def login(self, request: Request) -> Response:
        """Get a token for an e-mail address (or the name of a member of staff) and its password."""
        body = LoginSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        issued = credentials.issue(authenticated(request, **body.validated_data))
        if issued is None:
            raise WrongCredentials
        token, secret = issued
        headers = {"Cache-Control": "no-store"}
        return Response(TokenSerializer({"token": secret, "expires_at": token.expiry}).data, headers=headers)

    @open_to()
    @extend_schema(request=ChangePasswordSerializer, responses={204: None})
    @action(detail=False, methods=["post"], url_path="change-password")
    def change_password(self, request: Request) -> Response:
        """Give this login another password. Every token and session of the login ends."""
        body = ChangePasswordSerializer(data=request.data, context={"request": request})
        body.is_valid(raise_exception=True)
        login = authenticated(request, request.user.get_username(), body.validated_data["password"])
        if login.pk != request.user.pk:  # another login that has the same name
            raise WrongCredentials
        login.set_password(body.validated_data["new_password"])
        login.save(update_fields=["password"])
        return Response(status=204)

    @open_to()
    @extend_schema(request=None, responses={204: None})
    @action(detail=False, methods=["post"])
    def logout(self, request: Request) -> Response:
        """Revoke the token of this request, and end its session."""
        if isinstance(request.auth, AuthToken):
            request.auth.delete()
        if request.session.get(SESSION_KEY) == str(request.user.pk):
            request.session.flush()
        return Response(status=204)

    @open_to()
    @extend_schema(request=None, responses={204: None})
    @action(detail=False, methods=["post"], url_path="logout-all")
    def logout_all(self, request: Request) -> Response:
        """Revoke every token of this login, and end every session."""
        credentials.end_tokens(request.user)
        credentials.end_sessions(request.user)
        return Response(status=204)
