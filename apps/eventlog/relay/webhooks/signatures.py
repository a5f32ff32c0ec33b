"""Secrets of endpoints, and signatures by them as Standard Webhooks 1.0 specifies.

A secret is nowhere. It is derived (HKDF, RFC 5869) from the random id that the endpoint has in `default`, by a key that
is in `keys`, wrapped by the key-encryption key. Who has one of the two databases, or both without the key-encryption
key, cannot sign.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.utils import timezone

from apps.eventlog.encryption import data_keys
from apps.eventlog.relay.webhooks.models import Endpoint

PREFIX = "whsec_"
SIZE = 32  # bytes; the specification takes 24 to 64


def secret(secret_id: UUID) -> bytes:
    """The secret of this id. Raises `data_keys.WrongKey`, and `data_keys.MissingKey` if the key of all secrets is gone.

    That key is made with the first endpoint.
    """
    key = data_keys.own_key(data_keys.WEBHOOKS, Endpoint.objects.exists)
    return HKDF(SHA256(), SIZE, salt=None, info=b"headrace webhook secret" + secret_id.bytes).derive(key)


def shown(secret: bytes) -> str:
    """A secret in the form that its receiver gets once."""
    return PREFIX + b64encode(secret).decode()


def headers(id: str, body: bytes, secrets: Sequence[bytes], now: datetime) -> dict[str, str]:
    """The headers of one attempt to send a body; with two secrets there is a signature by each."""
    timestamp = str(int(now.timestamp()))
    content = f"{id}.{timestamp}.".encode() + body
    signatures = [b64encode(hmac.digest(secret, content, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def of(endpoint: Endpoint, now: datetime | None = None) -> list[bytes]:
    """The secrets by which deliveries to an endpoint are signed: its own, and for a while the one before it."""
    found = [secret(endpoint.secret_id)]
    until = endpoint.previous_until
    if endpoint.previous_secret_id and until and until > (now or timezone.now()):
        found.append(secret(endpoint.previous_secret_id))
    return found
