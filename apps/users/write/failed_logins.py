"""Failed logins are counted in the shared cache: of an account, of a network address, and of both together.

Each check of a password is a line in the log.
"""

import logging
from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import Throttled

from apps.eventlog import reservations
from apps.eventlog.api.throttles import Slots, network_of
from apps.users.events import email_key
from apps.users.write.aggregates import EMAIL

logger = logging.getLogger(__name__)

LINE = "%s: name %s, address %s; tries: %d of the address, %d of the account, %d of both"


def counted(name: str, account: str, address: str, check: Callable[[], Any]) -> Any:
    """What `check` answers: the login, or None for a failure, which then counts. Raises Throttled after too many.

    Takes the slots before it checks the password, or parallel guesses could exceed the limits.
    """
    network = network_of(address)
    slots = [
        Slots("login_address", network),
        Slots("login_account", account),
        Slots("login", f"{account}:{network}"),
    ]
    login = None
    try:
        for slot in slots:
            slot.take()
        login = check()
    except Throttled:
        _give_back(slots)
        _log("login refused after too many failures", name, address, slots)
        raise
    if login is None:
        _log("login failed", name, address, slots)
    else:
        _give_back(slots)
        _log("login succeeded", name, address, slots, logging.INFO)
    return login


def _give_back(slots: list[Slots]) -> None:
    for slot in slots:
        slot.give_back()


def _log(what: str, name: str, address: str, slots: list[Slots], level: int = logging.WARNING) -> None:
    """Log the name as a keyed hash. If it is the address of a user, the hash is the `key` of its reservation."""
    hashed = reservations.for_log(EMAIL, email_key(name))
    logger.log(level, LINE, what, hashed, address, *(slot.count for slot in slots))
