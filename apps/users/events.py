"""The published language of the users service."""

import re
import unicodedata
from dataclasses import dataclass
from typing import ClassVar

import idna

from apps.eventlog.events import DomainEvent, Personal

LONGEST_EMAIL = 254  # characters, RFC 5321
LONGEST_NAME = 200  # characters
# A dot-atom of RFC 6531: the characters of RFC 5322, and any that is not ASCII; or a quoted string.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff]+"
_LOCAL = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"[ !#-\[\]-~]+"')


def mailbox(email: str) -> str:
    """The mailbox that an address names: two addresses with the same answer are one mailbox, others are two.

    The domain as its A-label (UTS 46, non-transitional), the local part in NFC and case-folded. Raises ValueError
    with the reason if it is no address of RFC 6531.
    """
    local, at, domain = email.rpartition("@")
    if not at or len(email) > LONGEST_EMAIL or not _LOCAL.fullmatch(local) or not _is_visible(local):
        raise ValueError("not an e-mail address")
    try:
        label = idna.encode(domain.removesuffix("."), uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"no e-mail address has the domain {domain!a}") from error
    if "." not in label or label.rpartition(".")[2].isdigit():
        raise ValueError("the domain of an e-mail address is a whole one, as in example.org")
    return f"{unicodedata.normalize('NFC', unicodedata.normalize('NFC', local).casefold())}@{label}"


def email_key(email: str) -> str:
    """The form under which an address is unique: its mailbox.

    An address that older code took and that names no mailbox stays unique as it is written, in any case.
    """
    try:
        return mailbox(email)
    except ValueError:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())


def is_email(text: str) -> bool:
    """Is this an e-mail address that somebody may register?"""
    try:
        return bool(mailbox(text))
    except ValueError:
        return False


def _is_visible(text: str) -> bool:
    """No control, format, private or unassigned character, and no blank but the plain one."""
    return text.isascii() or all(unicodedata.category(each)[0] not in "CZ" or each == " " for each in text)


def _check_length(text: str, most: int) -> None:
    if len(text) > most:
        raise ValueError(f"a text has at most {most} characters here, not {len(text):,}")


@dataclass(frozen=True, slots=True)
class UserRegistered(DomainEvent):
    email: Personal[str]
    name: Personal[str]

    def check(self) -> None:
        _check_length(self.email, LONGEST_EMAIL)
        _check_length(self.name, LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class UserRenamed(DomainEvent):
    name: Personal[str]

    def check(self) -> None:
        _check_length(self.name, LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class UserEmailChanged(DomainEvent):
    email: Personal[str]

    def check(self) -> None:
        _check_length(self.email, LONGEST_EMAIL)


@dataclass(frozen=True, slots=True)
class UserDeactivated(DomainEvent):
    reason: Personal[str]


@dataclass(frozen=True, slots=True)
class UserReactivated(DomainEvent):
    pass


@dataclass(frozen=True, slots=True)
class UserErased(DomainEvent):
    """After this, nothing about the person can be read. `reason` stays, so it must say nothing personal."""

    erases: ClassVar[bool] = True
    reason: str
