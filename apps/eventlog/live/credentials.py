"""Is what a stream was opened with still valid? Asked for all streams of a process at once."""

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from knox.models import AuthToken

from apps.eventlog.commands import Actor

SEE_LOG = "eventlog.view_storedevent"  # what staff need for the feed, the catalog, the status and the stream


@dataclass(frozen=True, slots=True)
class Credential:
    """A token's digest or a session's key, with the username of the login and whether it was staff at that time."""

    login: str
    is_staff: bool
    token: str = ""
    session: str = ""


def valid(credentials: Collection[Credential]) -> set[Credential]:
    """Those that would still be accepted.

    The token or session exists and has not expired, the login is active, and a login that was staff may still see the
    log.
    """
    now = timezone.now()
    logins = get_user_model().objects.in_bulk({each.login for each in credentials}, field_name="username")
    tokens = AuthToken.objects.in_bulk({each.token for each in credentials if each.token})
    sessions = Session.objects.in_bulk({each.session for each in credentials if each.session})

    def is_valid(credential: Credential) -> bool:
        login = logins.get(credential.login)
        if login is None or not login.is_active or (credential.is_staff and not Actor.of(login).may(SEE_LOG)):
            return False
        if credential.token:
            token = tokens.get(credential.token)
            return token is not None and (token.expiry is None or token.expiry > now)
        session = sessions.get(credential.session)
        if session is None or session.expire_date <= now:
            return False
        secret = session.get_decoded().get(HASH_SESSION_KEY, "")  # changes with the password
        return constant_time_compare(secret, login.get_session_auth_hash())

    return {credential for credential in credentials if is_valid(credential)}
