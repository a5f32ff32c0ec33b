"""Files that only their owner can read: whatever is in the databases may be about people, or open something."""

import os
from contextlib import suppress
from pathlib import Path

PRIVATE = 0o600


def make_private(file: Path) -> None:
    """Make an empty file that only its owner can read and write; one that is there stays as it is.

    A file that cannot be made is left to whoever opens it next, who says so.
    """
    with suppress(OSError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def close_to_others(file: Path) -> bool:
    """Take the rights of everybody but the owner from a file; False if they had none, or the file is not there."""
    try:
        mode = file.stat().st_mode & 0o777
        if mode & ~PRIVATE & 0o077:
            file.chmod(mode & 0o700)
            return True
    except OSError:  # it is not ours, or not there
        pass
    return False
