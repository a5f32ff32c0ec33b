"""Is what a stream was opened with still valid? Asked for all streams of a process at once."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from knox.models import AuthToken

from apps.eventlog.commands import Actor

AT_ONCE = 1000  # tokens in one query
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
    active = {name: login for name, login in logins.items() if login.is_active}
    may_see = {name for name, login in active.items() if Actor.of(login).may(SEE_LOG)}
    expiries = _expiries([each.token for each in credentials if each.token])
    sessions = Session.objects.in_bulk({each.session for each in credentials if each.session})

    def is_valid(credential: Credential) -> bool:
        if credential.login not in (may_see if credential.is_staff else active):
            return False
        if credential.token:
            return credential.token in expiries and ((expiry := expiries[credential.token]) is None or expiry > now)
        session = sessions.get(credential.session)
        if session is None or session.expire_date <= now:
            return False
        secret = session.get_decoded().get(HASH_SESSION_KEY, "")  # changes with the password
        return constant_time_compare(secret, active[credential.login].get_session_auth_hash())

    return {credential for credential in credentials if is_valid(credential)}


def _expiries(digests: list[str]) -> dict[str, datetime | None]:
    """When tokens expire, None if never, by digest; without those that are gone.

    No objects: ten thousand streams have ten thousand tokens, and they are asked for every two seconds.
    """
    found: dict[str, datetime | None] = {}
    for start in range(0, len(digests), AT_ONCE):
        some = AuthToken.objects.filter(digest__in=digests[start : start + AT_ONCE])
        found.update(some.values_list("digest", "expiry"))
    return found
