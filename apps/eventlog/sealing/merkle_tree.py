"""Merkle trees as RFC 6962, section 2.1, defines them: SHA-256, with a first byte that tells leaves from nodes."""

from collections.abc import Sequence
from hashlib import sha256


def leaf(data: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\x00" + data).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash over leaf hashes, in their order.

    The RFC splits the leaves at the largest power of two. Joining pairs level by level, and moving an odd last one up
    unchanged, gives the same tree.
    """
    level = list(leaves)
    if not level:
        return sha256().digest()
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level += odd
    return level[0]
