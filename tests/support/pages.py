"""A page of the docs, followed as a reader would follow it: its code blocks, in their order, in a copy of the tree.

What a block is stands behind its backticks:

- `sh` is run by the shell; it fails if a command of it fails. A block `text` behind it has lines of what it prints, in
  their order; `...` stands for what differs. `sh server` is a server on port 8000, which goes on until the next one.
- `python apps/some/file.py` is the whole of a file.
- `diff apps/some/file.py` changes a file: the lines with a blank or a minus in front stand there once, one after the
  other, and become those with a blank or a plus. A line `@@` divides places. A place of plus lines alone is the end.
- Any other block is only read.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from tests.journeys.deployment import eventually, free_port

FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Not only what a test of the project might leave, but what others have put there: an environment, data, a history.
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".env", "var", "__pycache__", ".*_cache", ".hypothesis")


class Block(NamedTuple):
    kind: str
    path: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


class Tree:
    """A copy of the source tree, with the virtual environment of the tests and databases of its own."""

    def __init__(self, root: Path, directory: Path, **environment: str) -> None:
        self.path = Path(shutil.copytree(root, directory, ignore=LEFT_OUT))
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}
        for name in ("DJANGO_SETTINGS_MODULE", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "DATA_DIR"):
            kept.pop(name, None)
        self.environment = kept | {"SECRET_KEY": "k" * 60, "DEBUG": "on", "PYTHONWARNINGS": "ignore"} | environment
        _link_environment(self.path / ".venv")
        self.server: subprocess.Popen[bytes] | None = None
        self.port = ""

    def follow(
        self, page: Path, after: Callable[[Block], object] = lambda block: None, *, leaving_out: str = ""
    ) -> None:
        """Do what each block of a page says, and call `after` with the block. Raises AssertionError if a block fails.

        Commands in which `leaving_out`, a pattern, is found are left out, with what they print.
        """
        said: str | None = ""
        for block in blocks(page):
            if block.kind == "sh" and leaving_out and re.search(leaving_out, block.text):
                said = None
            elif block.kind == "sh" and block.path == "server":
                self.serve(block.text)
            elif block.kind == "sh":
                said = self.run(block.text)
            elif block.kind == "text" and said is not None:
                expect(block.text, said)
            elif block.kind == "diff":
                self.change(block)
            elif block.path:
                self.write(block)
            after(block)

    def run(self, commands: str, seconds: float = 120) -> str:
        """What these commands print."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", commands.replace(":8000", f":{self.port or 8000}")],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def serve(self, command: str) -> None:
        """Start a server in place of the one before, on a free port, and wait until it answers."""
        self.stop()
        self.port = self.port or str(free_port())
        with (self.path.parent / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.path,
                env=self.environment | {"PORT": self.port},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, 120)

    def _answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.path.parent / "server.log").read_text()
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """Stop the server, as Ctrl-C would."""
        if self.server is not None and self.server.poll() is None:
            os.killpg(self.server.pid, signal.SIGINT)
            self.server.wait(timeout=30)

    def manage(self, *arguments: str) -> str:
        """What a management command prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, block: Block) -> None:
        path = self.path / block.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def change(self, block: Block) -> None:
        path = self.path / block.path
        path.write_text(changed(path.read_text(), block.text))


@contextmanager
def stopping(tree: Tree) -> Iterator[Tree]:
    """Its server is stopped at the end of the block."""
    try:
        yield tree
    finally:
        tree.stop()


def changed(text: str, diff: str) -> str:
    """A text with the changes that a `diff` block says. Raises AssertionError if a place is not there once."""
    lines = text.splitlines()
    for place in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
        marked = [line or " " for line in place.splitlines()]
        before = [line[1:] for line in marked if line[0] in " -"]
        after = [line[1:] for line in marked if line[0] in " +"]
        size = len(before)
        found = [at for at in range(len(lines) - size + 1) if lines[at : at + size] == before] if size else [len(lines)]
        assert len(found) == 1, f"this is there {len(found)} times:\n" + "\n".join(before)
        lines[found[0] : found[0] + size] = after
    return "\n".join(lines) + "\n"


def expect(lines: str, said: str) -> None:
    """Raise AssertionError unless what was said has these lines in their order."""
    rest = iter(said.splitlines())
    for line in lines.splitlines():
        pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")))
        assert line.strip() == "..." or any(pattern.search(each) for each in rest), f"no line {line!r} in\n{said}"


def _link_environment(directory: Path) -> None:
    """The environment that runs the tests, as `make` would have made it in this tree."""
    directory.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in ("run", "dev"):
            (directory / entry.name).symlink_to(entry)
    for made in ("run", "dev"):
        (directory / made).touch()


def changes(one: Path, other: Path) -> Iterator[str]:
    """The files in which two trees differ, without what processes leave behind."""
    found = [
        (path.relative_to(tree), tree)
        for tree in (one, other)
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not {".venv", "var", "__pycache__", ".git", ".env"} & set(path.parts)
        if not any(part.endswith("_cache") or part == ".hypothesis" for part in path.parts)
    ]
    for name, trees in groupby(sorted(found), key=lambda each: each[0]):
        if len(list(trees)) < 2 or (one / name).read_bytes() != (other / name).read_bytes():
            yield str(name)
