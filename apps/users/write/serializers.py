"""The bodies of the commands of the users service."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as InvalidPassword
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.eventlog.api.command_serializer import CommandSerializer, example
from apps.users.events import LONGEST_EMAIL, LONGEST_NAME, email_key, is_email
from apps.users.write.aggregates import is_name
from apps.users.write.credentials import LONGEST_PASSWORD

REFUSED = "refused are common passwords, digits alone, and any like the address"


# "email" would mean ASCII alone (RFC 5321); this is the format of RFC 6531.
@extend_schema_field({"type": "string", "format": "idn-email", "maxLength": LONGEST_EMAIL})
class EmailField(serializers.CharField):
    """An e-mail address."""


def email_field() -> EmailField:
    return EmailField(max_length=LONGEST_EMAIL, validators=[_email])


def name_field() -> serializers.CharField:
    return serializers.CharField(max_length=LONGEST_NAME, validators=[_name])


def password_field(**more: Any) -> serializers.CharField:
    return serializers.CharField(max_length=LONGEST_PASSWORD, trim_whitespace=False, write_only=True, **more)


def new_password_field(**more: Any) -> serializers.CharField:
    return password_field(min_length=settings.PASSWORD_LENGTH, **more)


def _require_good(field: str, password: str, login: Any) -> None:
    try:
        validate_password(password, login)
    except InvalidPassword as error:
        raise serializers.ValidationError({field: error.messages}) from None


def _email(value: str) -> None:
    if not is_email(value):
        raise serializers.ValidationError("Enter a valid email address.")


def _name(value: str) -> None:
    if not is_name(value):
        raise serializers.ValidationError("A name has something to read, and no control characters.")


@example({"email": "ann@example.org", "name": "Ann", "password": "correct horse battery"})
class RegisterUserSerializer(CommandSerializer):
    email = email_field()
    name = name_field()
    password = new_password_field(required=False, help_text=f"only staff may leave it out; {REFUSED}")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        password = fields.setdefault("password", None)
        if password is None and not self.context["request"].user.is_staff:
            raise serializers.ValidationError({"password": ["This field is required."]})
        if password is not None:
            _require_good("password", password, get_user_model()(email=fields["email"], first_name=fields["name"]))
        return fields


@example({"name": "Anna"})
class RenameUserSerializer(CommandSerializer):
    name = name_field()


@example({"email": "anna@example.org", "password": "correct horse battery"})
class ChangeEmailSerializer(CommandSerializer):
    """The person gives the password once more, staff do not."""

    email = email_field()
    password = password_field(required=False, help_text="of the person")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        staff = self.context["request"].user.is_staff
        if not staff and "password" not in fields:
            raise serializers.ValidationError({"password": ["This field is required."]})
        if staff and "password" in fields:
            raise serializers.ValidationError({"password": ["not with your login"]})
        if email_key(fields.get("password", "")) == email_key(fields["email"]):
            raise serializers.ValidationError({"email": ["it is the password"]})
        return fields


@example({"reason": "asked to leave"})
class DeactivateUserSerializer(CommandSerializer):
    reason = serializers.CharField(max_length=500)


@example({"reason": "asked for in writing"})
class EraseUserSerializer(CommandSerializer):
    """Staff give a reason; the person gives the password again."""

    password = password_field(required=False)
    reason = serializers.CharField(
        max_length=500, required=False, help_text="from staff only; it stays for ever, so it must say nothing personal"
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        needed, other = ("reason", "password") if self.context["request"].user.is_staff else ("password", "reason")
        if needed not in fields:
            raise serializers.ValidationError({needed: ["This field is required."]})
        if other in fields:
            raise serializers.ValidationError({other: [f"not allowed for your login: give the {needed}"]})
        return fields


@example({"username": "ann@example.org", "password": "correct horse battery"})
class LoginSerializer(CommandSerializer):
    username = serializers.CharField(max_length=254)
    password = password_field()


@example({"password": "correct horse battery", "new_password": "another horse battery"})
class ChangePasswordSerializer(CommandSerializer):
    """The password of the login that sends it, and the new one."""

    password = password_field()
    new_password = new_password_field(help_text=REFUSED)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        _require_good("new_password", fields["new_password"], self.context["request"].user)
        return fields


class TokenSerializer(serializers.Serializer[Any]):
    """The answer to a login."""

    token = serializers.CharField()
    expires_at = serializers.DateTimeField()
