"""Whatever Headrace writes can be read by its owner alone, also if the umask would allow more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.deployment import ROOT, Deployment


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """Processes of the test inherit it."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    """The names of files that others may read; prometheus_client makes those of the metrics, in a closed folder."""
    closed = {path for path in folder.rglob("metrics") if not path.stat().st_mode & 0o077}
    files = [path for path in folder.rglob("*") if path.is_file() and not closed & {*path.parents}]
    return sorted(path.name for path in files if path.stat().st_mode & 0o077)


@pytest.mark.sqlite  # the files of PostgreSQL are its own; the others are the same
def test_databases_exports_seals_and_copies_are_their_owners_alone(tmp_path: Path) -> None:
    deployment = Deployment.make(tmp_path / "var")
    with deployment.server() as server:
        server.register(1)
        there = {path.name for path in deployment.directory.iterdir()}
        assert {"users.sqlite3", "users.sqlite3-wal", "users.sqlite3-shm"} <= there
        (deployment.directory / "old.jsonl").write_text("of an earlier version")  # which others can read
        for file in ("events.jsonl", "events.jsonl.gz", "old.jsonl"):
            deployment.manage("export_events", str(deployment.directory / file))
        deployment.manage("seal_events")
        deployment.manage("seal_events", "--export", str(deployment.directory / "anchors"))
        deployment.manage("replay_events")
        deployment.manage("replay_events", "--until", "1", "--into", str(deployment.directory / "then"))
        assert {"events.jsonl.gz", "old.jsonl", "anchors", "then"} <= {
            path.name for path in deployment.directory.iterdir()
        }
        assert readable_by_others(deployment.directory) == ["processes.log"]  # the redirection of this test
    for folder in (deployment.directory, deployment.directory / "then"):
        assert not folder.stat().st_mode & 0o077


@pytest.mark.sqlite
def test_migrate_closes_files_that_an_earlier_version_made(deployment: Deployment) -> None:
    for file in deployment.directory.glob("*.sqlite3*"):
        file.chmod(0o644)
    deployment.manage("migrate", "-v0")
    assert readable_by_others(deployment.directory) == []
    (deployment.directory / "users.sqlite3").chmod(0o640)  # as somebody may want it
    deployment.manage("replay_events", "--list")
    assert readable_by_others(deployment.directory) == ["users.sqlite3"]


def test_make_writes_an_env_file_that_is_its_owners_alone(tmp_path: Path) -> None:
    made = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), f"PYTHON={sys.executable}", ".env"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert "SECRET_KEY=" in (tmp_path / ".env").read_text()
    assert readable_by_others(tmp_path) == []
