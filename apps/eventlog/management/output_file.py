"""The file that a command writes, which exists only if it is complete."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from apps.eventlog.database.private_files import make_private

STDOUT = Path("-")


@contextmanager
def output_file(file: Path, *, gzipped: bool = False) -> Iterator[IO[bytes]]:
    """Open a file to be written; `STDOUT` is standard output, which is never gzipped.

    The data goes to a file with ".part" behind its name, which replaces `file` at the end. If the block raises, it is
    deleted, and an earlier `file` stays as it was. Nobody but its owner can read it.
    """
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    try:
        make_private(part)
        with gzip.open(part, "wb") if gzipped else part.open("wb") as out:
            yield cast(IO[bytes], out)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
