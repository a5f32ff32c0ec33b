"""Merkle trees of the shape of RFC 6962, section 2.1: SHA-256, leaves and nodes told apart by a first byte."""

from collections.abc import Sequence
from hashlib import sha256


def leaf(data: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\x00" + data).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash over leaf hashes, in their order.

    Joining pairs level by level, an odd last one moving up as it is, gives the tree that the RFC
    describes by splitting at the largest power of two.
    """
    level = list(leaves)
    if not level:
        return sha256().digest()
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level += odd
    return level[0]
