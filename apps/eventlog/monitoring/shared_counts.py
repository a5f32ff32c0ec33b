"""The counts of all processes of a server, in files that any of them can add up.

prometheus_client keeps the counts of each process in a file, by its multiprocess mode. Here each file is named at
random, because two containers may share a folder and both have a process 1. A lock that ends with its process says
whether that is alive. The counts of a process that has ended are kept, because sums that go down would look like a
restart. If no process is alive, the next one begins anew.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

PATIENCE = 1.0  # seconds for which another process is waited for that reads or tidies the folder
# Bytes that a process takes at once for its counts; histograms have some 300 combinations of labels. A page that is not
# there when it is written, because the disk is full, would end the process by a signal.
ROOM = {"histogram": 1024 * 1024, "gauge_livesum": 64 * 1024, "counter": 64 * 1024}
PAST = "past"  # instead of its name, for all processes that have ended
LIVE = "gauge"  # how the files of values begin that end with their process


class SharedCounts:
    """The folder with the counts, and the files of this process in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid, self.name = 0, ""
        self.alive: IO[bytes] | None = None

    def install(self) -> None:
        """Let all metrics that are made from now on have their counts here. Raises OSError if that cannot be."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)  # where prometheus_client makes files
        values.ValueClass = values.MultiProcessValue(self._name)  # type: ignore[no-untyped-call]

    def _name(self) -> str:
        """The name of this process. A fork gets one of its own with its first count."""
        if self.pid != os.getpid():
            name = uuid4().hex
            with self._alone():
                self._tidy()
                alive = (self.folder / f"{name}.alive").open("wb")
                fcntl.flock(alive, fcntl.LOCK_EX)
                for kind, size in ROOM.items():
                    with (self.folder / f"{kind}_{name}.db").open("wb") as file:
                        os.posix_fallocate(file.fileno(), 0, size)
            self.pid, self.name, self.alive = os.getpid(), name, alive
        return self.name

    def collect(self) -> Iterable[Any]:
        """The metrics of all processes, added up. Raises OSError, also if another process keeps the folder."""
        with self._alone():
            living = self._living()
            files = [file for file in self.folder.glob("*.db") if _owner(file) in living or not _is_live(file)]
            return list(MultiProcessCollector.merge(list(map(str, files)), accumulate=True))  # type: ignore[no-untyped-call]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process reads or tidies the folder meanwhile. Raises TimeoutError after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        with (self.folder / "lock").open("wb") as lock:
            while not _taken(lock):
                if time.monotonic() > deadline:
                    raise TimeoutError("another process keeps the folder of the metrics")
                time.sleep(0.005)
            yield

    def _living(self) -> set[str]:
        return {file.stem for file in self.folder.glob("*.alive") if not _is_free(file)}

    def _tidy(self) -> None:
        """Add up what ended processes have counted; forget it if nobody is alive."""
        living = self._living()
        ended = [file for file in self.folder.glob("*.db") if _owner(file) not in living]
        kinds = {file.name.partition("_")[0] for file in ended} - {LIVE} if living else set()
        for kind in kinds:
            _fold(self.folder / f"{kind}_{PAST}.db", [file for file in ended if file.name.startswith(f"{kind}_")])
        for file in [*ended, *self.folder.glob("*.alive")]:
            if _owner(file) not in {*living, PAST} or not living:
                file.unlink(missing_ok=True)


def _fold(past: Path, ended: list[Path]) -> None:
    """Write the sum of these files. If the process dies between the steps, counts are lost and none is doubled."""
    if ended == [past]:
        return
    metrics = MultiProcessCollector.merge(list(map(str, ended)), accumulate=False)  # type: ignore[no-untyped-call]
    new = past.with_suffix(".new")
    with new.open("wb") as room:
        os.posix_fallocate(room.fileno(), 0, max(each.stat().st_size for each in ended))
    sums = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for metric in metrics:
        for sample in metric.samples:
            key = mmap_key(
                metric.name, sample.name, list(sample.labels), list(sample.labels.values()), metric.documentation
            )  # type: ignore[no-untyped-call]
            sums.write_value(key, sample.value, 0.0)  # type: ignore[no-untyped-call]
    sums.close()  # type: ignore[no-untyped-call]
    for file in ended:
        file.unlink()
    new.rename(past)


def _owner(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _is_live(file: Path) -> bool:
    return file.name.startswith(LIVE)


def _is_free(file: Path) -> bool:
    """Has the process ended that locked this file?"""
    with file.open("rb") as lock:
        return _taken(lock)


def _taken(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
