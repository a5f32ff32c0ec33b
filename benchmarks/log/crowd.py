"""Writers that start and are timed together. Each is a process, because threads would share one interpreter's lock."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

STREAM = 10  # appends to a stream before the next one begins


class Crowd:
    """Processes with one contender each. They live for the whole run, so that no round pays for a start."""

    def __init__(self, kind: type[Any], url: str, number: int) -> None:
        self.pipes: list[Connection] = []
        for _ in range(number):
            here, there = get_context("spawn").Pipe()
            get_context("spawn").Process(target=_serve, args=(kind, url, there), daemon=True).start()
            here.recv()  # one after the other: pyeventsourcing's tables cannot be looked at by two at once
            self.pipes.append(here)

    def ask(self, *task: Any, members: int = 1) -> list[Any]:
        """Let the first `members` processes begin a task together; returns their answers."""
        for pipe in self.pipes[:members]:
            pipe.send(task)
        for pipe in self.pipes[:members]:
            pipe.recv()
        for pipe in self.pipes[:members]:
            pipe.send("go")
        return [pipe.recv() for pipe in self.pipes[:members]]

    def rate(self, *task: Any, members: int = 1) -> float:
        """How many a second the first `members` processes do together."""
        return sum(self.ask(*task, members=members))

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def _serve(kind: type[Any], url: str, pipe: Connection) -> None:
    contender = kind(url)
    pipe.send("up")
    while task := pipe.recv():
        name, *arguments = task
        pipe.send("ready")
        pipe.recv()
        work: Callable[..., Any] = globals().get(f"_{name}") or getattr(contender, name)
        pipe.send(work(contender, *arguments) if work.__module__ == __name__ else work(*arguments))


def _appends(contender: Any, seconds: float, events: int) -> float:
    """Events a second, if each append has `events` of them."""

    def stream() -> int:
        id = uuid7()
        for number in range(STREAM):
            contender.append(id, number * events, events)
        return STREAM * events

    return _repeat(stream, seconds)


def _appends_of_threads(contender: Any, seconds: float, threads: int) -> float:
    """Events a second that several threads append together. Each of them appends one event at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: _appends(contender, seconds, 1), range(threads)))


def _commands(contender: Any, seconds: float, id: UUID) -> float:
    contender.command(id)

    def command() -> int:
        contender.command(id)
        return 1

    return _repeat(command, seconds)


def _reads(contender: Any, events: int) -> float:
    began = time.perf_counter()
    return contender.read_all(events) / (time.perf_counter() - began)


def _point_reads(contender: Any, seconds: float, ids: list[UUID]) -> float:
    """Whole streams read a second, picked from all over the log."""
    turn = iter(ids * 1000)

    def read() -> int:
        return bool(contender.read_stream(next(turn)))

    return _repeat(read, seconds)


def _repeat(work: Callable[[], int], seconds: float) -> float:
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        count += work()
    return count / passed
