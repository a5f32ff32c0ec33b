"""Faults to put in the way of a deployment: a line that is cut, a disk that is small."""

import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self

MEGABYTE = 1024 * 1024


class Proxy:
    """A line to a server, by TCP or to its unix socket, that can be cut where it hurts."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self.target, self.trigger, self.spared = target, b"", 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def cut_reply_to(self, trigger: bytes, spare: int = 0) -> None:
        """Once: let a message with these bytes through, wait until it is answered, and lose the answer.

        The first `spare` such messages keep their answers.
        """
        self.trigger, self.spared = trigger, spare

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
                server.connect(self.target)
                cut = threading.Event()
                for work in (self._up, self._down):
                    threading.Thread(target=work, args=[client, server, cut], daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.trigger and self.trigger in data:
                    self.spared -= 1
                    if self.spared < 0:
                        self.trigger = b""
                        cut.set()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the other direction, which closes both

    def _down(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not cut.is_set():
                client.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def small_disk(size: int = 12 * MEGABYTE, owner: str = "root") -> Iterator[Path]:
    """A file system of so many bytes; raises CalledProcessError where mounting is not allowed."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-disk-", dir="/var/tmp"))
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},uid={owner},mode=700", "tmpfs", str(directory)]
        subprocess.run(mount, check=True, capture_output=True)
        directory.parent.stat()
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def fill(directory: Path) -> Path:
    """Leave no byte free; returns the file that takes them all."""
    filler = directory / "filler"
    for size in (MEGABYTE, 4096, 1):
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(b"." * size):
                pass
    return filler


@cache
def can_mount() -> bool:
    try:
        with small_disk(MEGABYTE):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
