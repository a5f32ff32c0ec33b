"""Python processes that start warm: each is a fork of one that has imported what does not depend on settings.

A start of `manage.py check` takes 0.3 s of a processor instead of 0.7 s, and `test_crashes.py` takes 16 s instead of
25 s. Only the code of others is imported before the fork. Settings and services, and what they configure, are imported
in the new process, which is a child of the process that asks for it, as with `subprocess`.
"""

import ctypes
import importlib
import json
import os
import random
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
POSSIBLE = sys.platform == "linux"  # elsewhere nobody can adopt the child of a child
PR_SET_CHILD_SUBREAPER = 36
LARGEST = 1 << 20  # bytes of a request
OWN = {"apps", "config", "tests", "tools", "examples", "__main__", "__mp_main__"}
IMPORTED = (
    "import config.asgi, json, sys, uvicorn.main, uvicorn.protocols.http.httptools_impl, uvicorn.loops.auto;"
    "print(json.dumps(list(sys.modules)))"
)


class Popen(subprocess.Popen[Any]):
    """As `subprocess.Popen`, for a command that begins with `sys.executable` and then `-m`, `-c` or a file."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        if not POSSIBLE or args[0] != sys.executable:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        cwd, environment, pipes = rest[4], rest[5], rest[9:15]
        request = {"arguments": args[1:], "cwd": str(cwd or Path.cwd()), "environment": dict(environment or os.environ)}
        streams = [given if given != -1 else own for own, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = _forked(request, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(command: list[str], *, timeout: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with text and captured output."""
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _forked(request: dict[str, Any], streams: list[int]) -> int:
    """The id of a new child of this process."""
    asking = _warm_process()
    socket.send_fds(asking, [json.dumps(request).encode()], streams)
    return int(asking.recv(32))


@cache
def _warm_process() -> socket.socket:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # so that the child of a child becomes a child of this process
    asking, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.support.warm", str(answering.fileno())]
    subprocess.Popen(command, cwd=ROOT, pass_fds=[answering.fileno()], stdin=subprocess.DEVNULL)  # ends with this one
    answering.close()
    return asking


def _import_what_others_wrote() -> None:
    """What a server imports, but not what needs settings: that is imported again in each process."""
    names = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)  # what reads a setting now fails, and is imported again later
    for name in json.loads(names.splitlines()[-1]):
        if name.partition(".")[0] not in OWN:
            with suppress(Exception):
                importlib.import_module(name)
    assert not {"apps", "config"} & set(sys.modules)


def _new_process(answering: socket.socket) -> Callable[[], object] | None:
    """Fork for each request. Returns in the new process, with what it is to run; None if nobody asks any more."""
    while True:
        message, streams, _, _ = socket.recv_fds(answering, LARGEST, 3)
        if not message:
            return None
        told, tells = os.pipe()
        between = os.fork()
        if not between:
            child = os.fork()
            if child:
                os.write(tells, str(child).encode())
                os._exit(0)
            answering.close()
            os.close(told)
            os.close(tells)
            return _prepared(json.loads(message), streams)
        os.waitpid(between, 0)  # only then is the child that of the process which asks
        answering.send(os.read(told, 32))
        os.close(told)
        os.close(tells)
        for each in streams:
            os.close(each)


def _prepared(request: dict[str, Any], streams: Iterable[int]) -> Callable[[], object]:
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    first, *arguments = request["arguments"]
    if first in ("-m", "-c"):
        name, *arguments = arguments
        sys.path[0] = "" if first == "-c" else request["cwd"]
        sys.argv = [first, *arguments]
        if first == "-m":
            return lambda: runpy.run_module(name, run_name="__main__", alter_sys=True)
        return lambda: exec(name, {"__name__": "__main__"})
    sys.path[0] = str(Path(first).resolve().parent)
    sys.argv = [first, *arguments]
    return lambda: runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _import_what_others_wrote()
    program = _new_process(socket.socket(fileno=int(sys.argv[1])))
    if program:
        program()
