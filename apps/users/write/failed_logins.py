"""Failed logins are counted in the shared cache: of an account, of an address, and of both together."""

import logging
from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import Throttled

from apps.eventlog import reservations
from apps.eventlog.api.throttles import Slots, network_of
from apps.users.write.aggregates import EMAIL, email_key

logger = logging.getLogger(__name__)

LINE = "%s: name %s, address %s; tries: %d of the address, %d of the account, %d of both"


def counted(name: str, account: str, address: str, check: Callable[[], Any]) -> Any:
    """What `check` answers: the login, or None for a failure, which then counts. Raises Throttled after too many.

    Each try takes its places before the password is looked at, so parallel guesses cannot be more than the limits.
    """
    network = network_of(address)
    places = [
        Slots("login_address", network),
        Slots("login_account", account),
        Slots("login", f"{account}:{network}"),
    ]
    login = None
    try:
        for place in places:
            place.take()
        login = check()
    except Throttled:
        _give_back(places)
        _log("login refused after too many failures", name, address, places)
        raise
    if login is None:
        _log("login failed", name, address, places)
    else:
        _give_back(places)
    return login


def _give_back(places: list[Slots]) -> None:
    for place in places:
        place.give_back()


def _log(what: str, name: str, address: str, places: list[Slots]) -> None:
    """The name as a keyed hash: the `key` of the reservation, if it is the address of a user."""
    hashed = reservations.keyed_hash(EMAIL, email_key(name))
    logger.warning(LINE, what, hashed, address, *(place.count for place in places))
