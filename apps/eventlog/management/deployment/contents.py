"""What the contents of the databases lack: keys that open, erasures that hold, reservations, seals, logins."""

from collections.abc import Callable, Iterator

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS

from apps.eventlog import reservations
from apps.eventlog.encryption import data_keys
from apps.eventlog.models import Seal
from apps.eventlog.privacy import undone_erasures
from apps.eventlog.sealing import seals, signatures


def _of_keys() -> Iterator[str]:
    try:
        undone_erasures.require_done()
    except (undone_erasures.Undone, data_keys.WrongKey) as error:
        yield f"keys: {error}"
        return
    if data_keys.to_rewrap().exists():
        yield "keys: some data keys are wrapped by an earlier key-encryption key: run manage.py rotate_keys"


def _of_reservations() -> Iterator[str]:
    if reservations.outdated():
        yield "migrations: reservations have the form of an older version: run manage.py rebuild_reservations"


def _of_seals() -> Iterator[str]:
    last, known = Seal.objects.order_by("number").last(), signatures.public_keys()
    if last and known and not signatures.is_signed(bytes.fromhex(last.digest), last.signature, known):
        yield "seals: no known key has signed the last seal: give SEAL_SIGNING_KEY to whoever seals"
    if seals.went_back():
        yield "seals: the last seal is over events that the log does not have: see manage.py verify_log"


def _of_logins() -> Iterator[str]:
    logins = get_user_model().objects
    if not logins.filter(is_superuser=True, is_active=True).exists():
        yield "logins: nobody can give out permissions: run manage.py createsuperuser"
    for login in logins.filter(username="admin", is_active=True):
        if login.check_password("admin"):
            yield "logins: admin has the password of the demo: run manage.py changepassword admin"


# Each with the databases that it needs.
LOOKS: tuple[tuple[set[str], Callable[[], Iterator[str]]], ...] = (
    ({settings.KEYS, settings.EVENTLOG}, _of_keys),
    ({settings.EVENTLOG}, _of_reservations),
    ({settings.EVENTLOG}, _of_seals),
    ({DEFAULT_DB_ALIAS}, _of_logins),
)
