"""What the settings and the code of a deployment lack. No database is asked."""

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from apps.eventlog.backup import unfinished
from apps.eventlog.log import schema_lock
from apps.eventlog.sealing import signatures

SHORTEST_TOKEN = 32  # characters
# In our words, with the variable that mends it; the rest of Django's checks speak for themselves.
KNOWN = {
    "security.W004": "SECURE_HSTS_SECONDS is 0, so browsers try HTTP first: set it, to 31536000 once all works by TLS",
    "security.W008": "SECURE_SSL_REDIRECT is off, so pages are served without TLS: set it to on",
    "security.W012": "SECURE_COOKIES is off, so sessions travel without TLS: set it to on",
    "security.W016": "SECURE_COOKIES is off, so sessions travel without TLS: set it to on",
    "security.W018": "DEBUG is on, so errors show the code and settings: set DEBUG=off",
    "security.W020": "ALLOWED_HOSTS is empty, so every request is refused: set it to the names of the site",
}


def faults() -> Iterator[str]:
    yield from dict.fromkeys(_of_settings())
    yield from _of_keys()
    yield from _of_the_schema_lock()
    if (restore := unfinished.read()) is not None:
        yield f"databases: a restore has not ended: run manage.py restore {restore.folder}"


def _of_settings() -> Iterator[str]:
    for message in checks.run_checks(include_deployment_checks=True):
        if message.level >= checks.WARNING and not message.is_silenced():
            told = f"{message.msg} {message.hint or ''} ({message.id})"
            yield f"settings: {KNOWN.get(message.id or '', ' '.join(told.split()))}"
    if "*" in settings.ALLOWED_HOSTS:
        yield "settings: ALLOWED_HOSTS has *, so any name is believed: set it to the names of the site"
    if not settings.METRICS_TOKEN:
        yield "settings: METRICS_TOKEN is not set, so nothing can read /metrics: set it to a long random text"
    elif len(settings.METRICS_TOKEN) < SHORTEST_TOKEN:
        yield f"settings: METRICS_TOKEN is short: set it to a random text of {SHORTEST_TOKEN} characters or more"


def _of_keys() -> Iterator[str]:
    if settings.KEY_ENCRYPTION_KEY == settings.DERIVED_KEY:
        yield (
            "keys: KEY_ENCRYPTION_KEY is not set, so a new SECRET_KEY would close all personal data: set it to what "
            "`openssl rand -base64 32` prints, then run manage.py rotate_keys"
        )
    try:
        if not signatures.public_keys():
            yield (
                "seals: neither SEAL_SIGNING_KEY nor SEAL_PUBLIC_KEYS is set, so nobody can tell who sealed the log: "
                "run manage.py seal_events --new-key and set both as it says"
            )
    except ImproperlyConfigured as error:
        yield f"settings: {error}"


def _of_the_schema_lock() -> Iterator[str]:
    for service in settings.SERVICES:
        for problem in schema_lock.problems(service):
            yield f"schema lock: {problem}"
        if unlocked := schema_lock.unlocked(service):
            names = ", ".join(unlocked)
            yield f"schema lock: {names} is not in {schema_lock.LOCK} of {service}: run make schemas, commit the file"
