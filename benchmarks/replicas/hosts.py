"""PostgreSQL servers on hosts of their own: network namespaces, each with a share of a processor of this machine.

Hosts on one machine bring no processors along, so none of them gets more than a small share. Then a second one does
bring something along, as a second machine would. This needs root, the command `ip` and version 1 of the cgroups.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.hosts import Host, HostedServer, Network
from tools import postgres

NAMES = ("primary", "first", "second")
CONTROLLER = Path("/sys/fs/cgroup/cpu")
PERIOD = 100_000  # microseconds


@contextmanager
def servers(directory: Path, share: float) -> Iterator[tuple[list[postgres.Server], list[str], str]]:
    """A primary that runs and two servers that do not yet, their hosts, and the URL of the primary.

    `share` is how much of a processor each may use. Raises SystemExit where that cannot be had.
    """
    if not (CONTROLLER / "cgroup.procs").exists():
        raise SystemExit(f"--share needs the controller of processors of cgroups, version 1, at {CONTROLLER}")
    with ExitStack() as stack:
        network = Network(*NAMES)
        hosts = stack.enter_context(network)
        made = [Limited(directory / name, hosts[name], network.range, share) for name in NAMES]
        url = made[0].start()
        stack.callback(made[0].remove)
        yield list(made), [hosts[name].address for name in NAMES], url


class Limited(HostedServer):
    """A server on a host, all of whose processes together have a share of one processor."""

    def __init__(self, directory: Path, host: Host, network: str, share: float) -> None:
        super().__init__(directory, host, network)
        self.share, self.group = share, CONTROLLER / f"headrace-{os.getpid()}-{directory.name}"

    def follow(self, host: str, settings: str = "") -> None:
        super().follow(host, f"listen_addresses = '*'\n{settings}")

    def start(self, settings: str = "") -> str:
        url: str = super().start(settings)
        self.group.mkdir()
        (self.group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (self.group / "cpu.cfs_quota_us").write_text(str(int(self.share * PERIOD)))
        postmaster = (self.data / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *children):
            (self.group / "cgroup.procs").write_text(pid)
        return url

    def remove(self) -> None:
        super().remove()
        self.group.rmdir()
