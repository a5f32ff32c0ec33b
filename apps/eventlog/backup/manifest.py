"""The manifest of a backup: what is in its folder. It is written last, so a folder without one is not a backup."""

import os
from collections.abc import Callable
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, Self
from uuid import UUID

import msgspec

from apps.eventlog.events import Place

NAME = "manifest.json"
FORMAT = 1
CHUNK = 1 << 20  # bytes


class Unusable(Exception):
    """The folder is no whole backup; the message says what is wrong with it."""


class DatabaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The copy of one database.

    `version` is that of SQLite or of the PostgreSQL server. `roles` are those that have rights in the database, besides
    its owner.
    """

    alias: str
    engine: str
    version: str
    file: str
    bytes: int
    sha256: str
    roles: list[str] = []


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds.

    `identity` is the id of the first event of the log, `position` and `event_id` are the place of its last. All are
    null or 0 for an empty log. `databases` are in the order in which they were copied. `wrapped_by` names the
    key-encryption keys that open the data keys. `migrations` are those that the log had. `digest` covers the rest.
    """

    format: int
    began_at: datetime
    taken_at: datetime  # the instant that the copies show
    completed_at: datetime
    headrace: str
    identity: UUID | None
    position: int
    event_id: UUID | None
    databases: list[DatabaseFile]
    wrapped_by: list[str]
    migrations: list[tuple[str, str]]
    digest: str = ""

    @property
    def place(self) -> Place:
        """The place of the last event."""
        return Place(self.position, self.event_id)

    def sealed(self) -> Self:
        """The same with its digest."""
        return msgspec.structs.replace(self, digest=self._digest())

    def check(self) -> None:
        """Raise `Unusable` if the manifest is not as it was written."""
        if self.format != FORMAT:
            raise Unusable(f"its format is {self.format}, and this code reads format {FORMAT}")
        if self.digest != self._digest():
            raise Unusable(f"{NAME} is damaged")

    def _digest(self) -> str:
        return sha256(msgspec.json.encode(msgspec.structs.replace(self, digest=""))).hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which completes the backup. It is there whole or not at all."""
    part = folder / f"{NAME}.part"
    with private(part) as out:
        out.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    part.rename(folder / NAME)
    sync(folder)


def read(folder: Path, progress: Callable[[int], None] = lambda count: None) -> Manifest:
    """The manifest of a folder whose files are all there and unchanged.

    `progress` is called with the number of bytes checked since its last call. Raises `Unusable`.
    """
    try:
        manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable(f"{folder} is not a whole backup: it has no {NAME}, which a backup writes last") from None
    except (msgspec.MsgspecError, UnicodeError, OSError) as error:
        raise Unusable(f"{folder / NAME} cannot be read: {error}") from error
    try:
        manifest.check()
        for each in manifest.databases:
            _check_file(folder / each.file, each)
            progress(each.bytes)
    except Unusable as error:
        raise Unusable(f"{folder} is not a whole backup: {error}") from None
    return manifest


def _check_file(file: Path, listed: DatabaseFile) -> None:
    try:
        size, digest = file.stat().st_size, digest_of(file)
    except OSError as error:
        raise Unusable(f"{file.name} cannot be read: {error.strerror}") from None
    if size != listed.bytes:
        raise Unusable(f"{file.name} has {size} bytes and should have {listed.bytes}")
    if digest != listed.sha256:
        raise Unusable(f"{file.name} is damaged")


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def private(file: Path) -> IO[bytes]:
    """A new file that its owner alone can read, open for writing. What an interrupted backup left is replaced."""
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def sync(folder: Path) -> None:
    """Let the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
