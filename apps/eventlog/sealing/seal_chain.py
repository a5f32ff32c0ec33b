"""The chain that seals form: each has the next number, an intact digest, and continues the seal before it.

A seal with a reason begins a new chain of events, at the beginning of the log; its digest still continues the one
before.
"""

from apps.eventlog.models import Seal
from apps.eventlog.sealing import seals, signatures
from apps.eventlog.sealing.leaves import Finding
from apps.eventlog.sealing.seals import Anchor


class Unusable(Exception):
    """The seals or anchors cannot be used as evidence, so there is nothing to check the log against."""


class SealChain:
    """Takes seals or anchors one after another, and says what is wrong with each.

    If public keys are known, the first signed seal and all later ones must be signed by one of these keys. A signature
    also vouches for the earlier seals, because its digest depends on theirs.
    """

    def __init__(self) -> None:
        self.last: Seal | Anchor = seals.GENESIS
        self.keys = signatures.public_keys()
        self.signed = False

    def fault(self, seal: Seal | Anchor) -> Finding | None:
        """Take the next seal; returns what is wrong with it, or None."""
        last, self.last = self.last, seal
        if seal.number != last.number + 1:
            return Finding(last.until + 1, f"seal {last.number + 1} is missing")
        if seals.digest(seal) != seal.digest:
            return Finding(last.until + 1, f"seal {seal.number} was changed")
        if (seal.previous, seal.after) != (last.digest, 0 if seal.reason else last.until):
            return Finding(last.after + 1, f"seal {seal.number} does not continue seal {last.number}")
        if self.keys and not self._properly_signed(seal):
            return Finding(seal.after + 1, f"seal {seal.number} is not signed by a known key")
        return None

    def _properly_signed(self, seal: Seal | Anchor) -> bool:
        if signatures.is_signed(bytes.fromhex(seal.digest), seal.signature, self.keys):
            self.signed = True
            return True
        return not (self.signed or seal.signature)

    def end(self) -> None:
        """After the last seal: raises `Unusable` if keys are known and no seal was signed."""
        if self.keys and not self.signed and self.last is not seals.GENESIS:
            raise Unusable("a key is set, but no seal is signed yet")
