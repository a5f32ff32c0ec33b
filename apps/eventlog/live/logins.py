"""What a stream was opened with, and whether it still holds: asked for all streams of a process at once."""

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from knox.models import AuthToken

from apps.eventlog.permissions import SEE_LOG, actor_of


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token's digest or a session's key, the login's username, and whether it was staff then."""

    login: str
    is_staff: bool
    token: str = ""
    session: str = ""


def valid(tickets: Collection[Ticket]) -> set[Ticket]:
    """The tickets that still hold: token or session not expired, login active, staff may still see the log."""
    now = timezone.now()
    logins = get_user_model().objects.in_bulk({ticket.login for ticket in tickets}, field_name="username")
    tokens = AuthToken.objects.in_bulk({ticket.token for ticket in tickets if ticket.token})
    sessions = Session.objects.in_bulk({ticket.session for ticket in tickets if ticket.session})

    def holds(ticket: Ticket) -> bool:
        login = logins.get(ticket.login)
        if login is None or not login.is_active or (ticket.is_staff and not actor_of(login).may(SEE_LOG)):
            return False
        if ticket.token:
            token = tokens.get(ticket.token)
            return token is not None and (token.expiry is None or token.expiry > now)
        session = sessions.get(ticket.session)
        if session is None or session.expire_date <= now:
            return False
        secret = session.get_decoded().get(HASH_SESSION_KEY, "")  # changes with the password
        return constant_time_compare(secret, login.get_session_auth_hash())

    return {ticket for ticket in tickets if holds(ticket)}
