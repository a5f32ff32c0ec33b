"""Ed25519 signatures of seals (RFC 8032), with keys from the environment.

A key is 32 bytes in base64. `SEAL_SIGNING_KEY` signs. The keys of `SEAL_PUBLIC_KEYS` check signatures, and so does the
public half of the signing key.
"""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def sign(message: bytes) -> str:
    """The signature in base64; "" if no signing key is set."""
    key = _signing_key()
    return _text(key.sign(message)) if key else ""


def public_keys() -> list[Ed25519PublicKey]:
    """The keys that a signature may come from; none if signatures are not in use."""
    key = _signing_key()
    known = [Ed25519PublicKey.from_public_bytes(_bytes("SEAL_PUBLIC_KEYS", text)) for text in settings.SEAL_PUBLIC_KEYS]
    return [*known, key.public_key()] if key else known


def is_signed(message: bytes, signature: str, keys: list[Ed25519PublicKey]) -> bool:
    """Has one of these keys signed the message with this signature?"""
    for key in keys:
        try:
            key.verify(base64.b64decode(signature, validate=True), message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def new_keys() -> tuple[str, str]:
    """A new signing key and its public key, in base64."""
    key = Ed25519PrivateKey.generate()
    return _text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw())


def _signing_key() -> Ed25519PrivateKey | None:
    text = settings.SEAL_SIGNING_KEY
    return Ed25519PrivateKey.from_private_bytes(_bytes("SEAL_SIGNING_KEY", text)) if text else None


def _bytes(name: str, text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ImproperlyConfigured(f"{name}: a key is 32 bytes in base64; `seal_events --new-key` makes one")
    return value


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
