"""Hosts of one's own on this machine: network namespaces on a bridge, whose cables can be pulled.

    with Network("web", "db") as hosts:
        process = hosts["web"].start([sys.executable, "-m", "http.server"], environment, log)
        hosts["web"].cut()          # nothing reaches it, and nobody is told
        hosts["web"].mend()

This needs root and the command `ip`.
"""

import os
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tools import postgres

TRUST = "\nhost all all {network} trust\nhost replication all {network} trust\n"
AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


class Host:
    """One namespace: its name, its address, and the end of its cable at the bridge."""

    def __init__(self, namespace: str, address: str, cable: str) -> None:
        self.namespace, self.address, self.cable = namespace, address, cable

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command begins with that is to run there."""
        return ("ip", "netns", "exec", self.namespace)

    def start(self, command: list[str], environment: dict[str, str], log: Path, cwd: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen([*self.inside, *command], cwd=cwd, env=environment, stdout=out, stderr=out)

    def cut(self) -> None:
        """Pull the cable."""
        _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        _ip("link", "set", self.cable, "up")


class Network:
    """A bridge with an address of this machine and some hosts, all gone at the end."""

    def __init__(self, *names: str) -> None:
        number = os.getpid() % 65_536
        self.prefix = f"hr{number:04x}"  # of the names of devices, which are short
        self.base = f"10.{128 + number % 100}.{number // 100 % 256}"
        self.hosts = {
            name: Host(f"{self.prefix}-{name}", f"{self.base}.{10 + index}", f"{self.prefix}v{index}")
            for index, name in enumerate(names)
        }

    @property
    def range(self) -> str:
        return f"{self.base}.0/24"

    def __enter__(self) -> dict[str, Host]:
        try:
            _ip("link", "add", self.prefix, "type", "bridge")
            _ip("address", "add", f"{self.base}.1/24", "dev", self.prefix)
            _ip("link", "set", self.prefix, "up")
            for host in self.hosts.values():
                self._add(host)
        except BaseException:
            self.__exit__()
            raise
        return self.hosts

    def _add(self, host: Host) -> None:
        _ip("netns", "add", host.namespace)
        _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        _ip("link", "set", host.cable, "master", self.prefix, "up")
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", host.namespace, "link", "set", device, "up")

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host.namespace)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self.prefix)


class HostedServer(postgres.Server):
    """A PostgreSQL on a host, which everybody on the network may use."""

    def __init__(self, directory: Path, host: Host, network: str) -> None:
        super().__init__(directory)
        self.host, self.network = host, network

    def start(self, settings: str = "") -> str:
        """Start it there; returns its URL on the network."""
        super().start(f"listen_addresses = '*'\n{settings}")
        return f"postgres://postgres@{self.host.address}/postgres"

    def _configure(self, settings: str) -> None:
        super()._configure(settings)
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(TRUST.format(network=self.network))

    def _call(self, program: str, *arguments: str) -> Any:
        return self._run_as((*self.host.inside, *AS_NOBODY), None, program, *arguments)


@cache
def can_make_hosts() -> bool:
    try:
        with Network("probe"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
