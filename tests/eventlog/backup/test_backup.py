"""A backup that is put back: all is there, nobody is erased who was not, and nothing is overwritten by accident."""

import shutil
import stat
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections

from apps.eventlog import store
from apps.eventlog.backup import manifest, programs, unfinished
from apps.eventlog.backup.database_copy import CannotCopy
from apps.eventlog.dispatch import dispatch
from apps.eventlog.models import Erasure
from apps.users.models import User
from apps.users.write.commands import DeactivateUser, EraseUser, RenameUser
from tests.eventlog.backup.test_moment import after_a_look, registered
from tests.support.erase import erase
from tests.support.fold import folded, projected
from tests.support.history import make_history

pytestmark = pytest.mark.direct  # a restore must have a database for itself


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Any) -> None:
    """The record of an unfinished restore is this test's own."""
    settings.DATA_DIR = tmp_path / "data"


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO(), no_progress=True, **options)
    return out.getvalue()


def name_of(person: UUID) -> str:
    return User.objects.get(pk=person).name


def test_what_is_restored_is_what_there_was(tmp_path: Path) -> None:
    make_history(users=3, commands=30)
    eva, finn = registered("Eva"), registered("Finn")
    before, place = projected(), store.safe_place()
    assert "databases" in run("backup", str(tmp_path / "kept"))
    dispatch(RenameUser(eva, "Later"))
    dispatch(EraseUser(finn, "asked for"))
    make_history(users=1, commands=5, seed=2)
    out = run("restore", str(tmp_path / "kept"), replace=True, verify=True)
    assert "1 people were erased after the backup was taken, and are erased again" in out
    assert store.event_at(place.position).place == place
    assert store.safe_position() == place.position + 1
    assert name_of(eva) == "Eva"
    assert name_of(finn) == "[erased]"
    assert Erasure.objects.get(pk=finn).position == place.position + 1
    assert not get_user_model().objects.filter(username=str(finn)).exists()
    assert projected() == folded()
    for table, rows in before.items():
        assert {key: row for key, row in projected()[table].items() if str(finn) != key} == {
            key: row for key, row in rows.items() if str(finn) != key
        }
    assert registered("Finn") != finn  # the address is free


def test_a_backup_is_for_its_owner_alone_and_says_what_it_holds(tmp_path: Path) -> None:
    person, folder = registered("Eva"), tmp_path / "kept"
    run("backup", str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    written = manifest.read(folder)
    assert [each.alias for each in written.databases][-3:] == ["default", "eventlog", "keys"]
    assert {each.alias for each in written.databases} == set(connections)
    assert written.place == store.safe_place()
    assert written.identity == store.event_at(1).event_id
    assert written.wrapped_by
    assert str(person).encode() not in (folder / manifest.NAME).read_bytes()
    assert "is whole" in run("restore", str(folder), check=True)


def test_an_empty_deployment_can_be_backed_up(tmp_path: Path) -> None:
    run("backup", str(tmp_path / "kept"))
    run("restore", str(tmp_path / "kept"), verify=True)
    assert store.is_empty()


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edited(file: Path) -> None:
    file.write_text(file.read_text().replace('"position": 1', '"position": 2'))


def newer(file: Path) -> None:
    written = manifest.read(file.parent)
    changed = msgspec.structs.replace(written, migrations=[*written.migrations, ("eventlog", "9999_later")])
    file.unlink()
    manifest.write(file.parent, changed.sealed())


def foreign(file: Path) -> None:
    changed = msgspec.structs.replace(manifest.read(file.parent), wrapped_by=["0123456789abcdef"])
    file.unlink()
    manifest.write(file.parent, changed.sealed())


HARM: list[tuple[str, Callable[[Path], None], str]] = [
    ("manifest.json", Path.unlink, "has no manifest.json"),
    ("manifest.json", emptied, "cannot be read"),
    ("manifest.json", edited, "manifest.json is damaged"),
    ("manifest.json", newer, "newer code, with the migration eventlog.9999_later"),
    ("manifest.json", foreign, "which this process does not have: set KEY_ENCRYPTION_KEY"),
    ("users.*", Path.unlink, "cannot be read: No such file"),
    ("orders.*", emptied, "has 0 bytes and should have"),
    ("eventlog.*", damaged, "is damaged"),
]


def test_a_folder_that_is_not_whole_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    person = registered("Eva")
    run("backup", str(tmp_path / "kept"))
    dispatch(RenameUser(person, "Later"))
    for number, (name, harm, message) in enumerate(HARM):
        folder = tmp_path / f"harmed-{number}"
        shutil.copytree(tmp_path / "kept", folder)
        [file] = folder.glob(name)
        harm(file)
        with pytest.raises(CommandError, match=message):
            run("restore", str(folder), replace=True)
        assert name_of(person) == "Later"
        assert unfinished.read() is None


def test_what_holds_data_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    person = registered("Eva")
    run("backup", str(tmp_path / "kept"))
    dispatch(RenameUser(person, "Later"))
    with pytest.raises(CommandError, match="keys hold data, which a restore would destroy, so nothing was done"):
        run("restore", str(tmp_path / "kept"))
    assert name_of(person) == "Later"
    for alias in connections:
        erase(alias)
    out = run("restore", str(tmp_path / "kept"))
    assert "nobody can tell who was erased after" in out
    assert name_of(person) == "Eva"


def test_a_folder_in_use_is_not_overwritten_and_an_interrupted_backup_is(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    run("backup", str(folder))
    with pytest.raises(CommandError, match="holds a backup already"):
        run("backup", str(folder))
    assert "is whole" in run("restore", str(folder), check=True)
    (folder / manifest.NAME).unlink()
    run("backup", str(folder))
    assert "is whole" in run("restore", str(folder), check=True)
    with pytest.raises(CommandError, match="is not empty"):
        run("backup", str(tmp_path))


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, written: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write", fail)
    with pytest.raises(CommandError, match=r"no backup was taken: .*No space left"):
        run("backup", str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_what_happened_while_the_copies_were_made_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows and the reactors' checkpoints are older than the log: they catch up, and the login is closed."""
    person = registered("Eva")
    with monkeypatch.context() as patch:
        after_a_look(patch, "default", lambda: dispatch(DeactivateUser(person, "left")))
        run("backup", str(tmp_path / "kept"))
    run("restore", str(tmp_path / "kept"), replace=True, verify=True)
    assert User.objects.get(pk=person).status == "inactive"
    assert not get_user_model().objects.get(username=str(person)).is_active


def test_one_database_can_be_put_back_and_the_others_follow(tmp_path: Path) -> None:
    eva, finn = registered("Eva"), registered("Finn")
    run("backup", str(tmp_path / "kept"))
    dispatch(RenameUser(eva, "Later"))
    dispatch(EraseUser(finn, "asked for"))
    run("restore", str(tmp_path / "kept"), replace=True, database=["users"], verify=True)
    assert name_of(eva) == "Later"
    out = run("restore", str(tmp_path / "kept"), replace=True, database=["keys"], verify=True)
    assert "1 erasures that the data keys did not show were carried out again" in out
    out = run("restore", str(tmp_path / "kept"), replace=True, database=["eventlog"], verify=True)
    assert "UserProjector showed another log: rebuilt" in out
    assert name_of(eva) == "Eva"
    assert name_of(finn) == "[erased]"
    assert projected() == folded()
    with pytest.raises(CommandError, match="go with the read databases"):
        run("restore", str(tmp_path / "kept"), replace=True, database=["default"])
    with pytest.raises(CommandError, match="no database nowhere in the backup"):
        run("restore", str(tmp_path / "kept"), replace=True, database=["nowhere"])


def test_nothing_serves_while_a_restore_has_not_ended(tmp_path: Path) -> None:
    unfinished.file().parent.mkdir()
    unfinished.begin(unfinished.Unfinished("there", "abc", ["users"]))
    with pytest.raises(SystemExit, match="the restore of there has not ended"):
        unfinished.refuse_to_serve()
    registered("Eva")
    run("backup", str(tmp_path / "kept"))
    with pytest.raises(CommandError, match="the restore of there has not ended: run that again, or add --replace"):
        run("restore", str(tmp_path / "kept"))
    run("restore", str(tmp_path / "kept"), replace=True)
    unfinished.refuse_to_serve()


def test_two_restores_at_once_are_one_too_many(tmp_path: Path) -> None:
    run("backup", str(tmp_path / "kept"))
    with unfinished.alone(), pytest.raises(CommandError, match="another process is restoring"):
        run("restore", str(tmp_path / "kept"), replace=True)


def test_what_others_use_is_not_replaced(tmp_path: Path) -> None:
    person = registered("Eva")
    run("backup", str(tmp_path / "kept"))
    dispatch(RenameUser(person, "Later"))
    other = connections["orders"].copy()
    other.connect()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM orders_order")
        with pytest.raises(CommandError, match="stop all servers and workers"):
            run("restore", str(tmp_path / "kept"), replace=True)
    finally:
        other.close()
    assert name_of(person) == "Later"


@pytest.mark.postgres
def test_programs_that_do_not_go_with_the_server_are_named(tmp_path: Path, settings: Any) -> None:
    settings.POSTGRES_BIN = str(tmp_path)
    with pytest.raises(CommandError, match=r"pg_dump was not found.*POSTGRES_BIN"):
        run("backup", str(tmp_path / "kept"))
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o755)
    with pytest.raises(CommandError, match=r"no pg_dump that was found goes with it: .*pg_dump of version 9"):
        run("backup", str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("name", "there", "server", "chosen"),
    [
        ("pg_dump", [13, 15, 18], 15, 15),
        ("pg_dump", [18, 17], 16, 17),
        ("pg_dump", [14], 15, None),
        ("pg_restore", [16, 18], 15, 16),
        ("pg_restore", [18], 17, 18),
        ("pg_restore", [18], 15, None),
    ],
)
def test_the_program_is_that_of_the_server_or_the_next_that_serves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: list[int], server: int, chosen: int | None
) -> None:
    for major in there:
        program = tmp_path / str(major) / name
        program.parent.mkdir()
        program.touch()
    monkeypatch.setattr(programs, "_folders", lambda: [tmp_path / str(major) for major in there])
    monkeypatch.setattr(programs, "_major", lambda program: int(program.parent.name))
    if chosen is None:
        with pytest.raises(CannotCopy, match=r"no pg_.* goes with it"):
            programs.find(name, server)
    else:
        assert programs.find(name, server).parent.name == str(chosen)
