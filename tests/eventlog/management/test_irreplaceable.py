"""No routine command destroys what cannot be rebuilt; read databases are emptied and rebuilt at any time."""

import json
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, OperationalError

from apps.eventlog import store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption import data_keys
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.management import irreplaceable
from apps.eventlog.models import StoredEvent
from apps.users.models import User
from apps.users.write.commands import EraseUser, RegisterUser
from tests.eventlog.encryption.test_data_keys import lose, made
from tests.support.erase import erase
from tests.support.fold import folded, projected

ALIASES = ("default", "keys", "eventlog")


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def registered(*names: str) -> list[Any]:
    people = [uuid4() for _ in names]
    for person, name in zip(people, names, strict=True):
        dispatch(RegisterUser(person, f"{name.lower()}@example.net", name))
    return people


def contents() -> list[Any]:
    """All but when a key was destroyed, which a dump keeps to the millisecond."""
    fields = ("subject", "wrapped", "wrapped_by", "rewraps")
    keys = list(PersonalKey.objects.values(*fields))
    return [keys, *(list(model.objects.order_by("pk").values()) for model in (StoredEvent, User))]


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("command", ["flush", "sqlflush"])
def test_what_cannot_be_rebuilt_is_not_flushed(command: str, alias: str) -> None:
    registered("Eva", "Finn")
    before = contents()
    options = {"interactive": False} if command == "flush" else {}
    with pytest.raises(
        CommandError, match=r"the log has events and there are data keys.*on purpose.*drop the databases"
    ):
        run(command, database=alias, **options)
    assert contents() == before


@pytest.mark.parametrize(
    ("app", "name"), [("eventlog", "zero"), ("keys", "zero"), ("auth", "zero"), ("eventlog", "0003"), ("keys", "0001")]
)
def test_migrations_of_what_cannot_be_rebuilt_do_not_go_back(app: str, name: str) -> None:
    registered("Eva")
    before = contents()
    for options in ({}, {"database": "default" if app == "auth" else app}):
        with pytest.raises(CommandError, match=f"migrate {app} {name} would destroy what cannot be rebuilt"):
            run("migrate", app, name, interactive=False, **options)
    run("migrate", app, name, plan=True)
    run("migrate", app, verbosity=0)
    assert contents() == before


def test_data_keys_alone_are_reason_enough_and_so_is_one_that_was_destroyed() -> None:
    subject = uuid4()
    made(subject)
    data_keys.destroy(subject)
    with pytest.raises(CommandError, match=r"from the log \(there are data keys\)"):
        run("flush", database="eventlog", interactive=False)


def test_nothing_is_done_while_nobody_can_tell_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bool:
        raise OperationalError("connection refused")

    monkeypatch.setattr(irreplaceable.store, "is_empty", away)
    with pytest.raises(CommandError, match=r"nothing was done: .* connection refused"):
        run("flush", database="default", interactive=False)


def test_the_guards_of_the_keys_come_back_after_their_migrations_went_back() -> None:
    run("migrate", "keys", "zero", verbosity=0, interactive=False)
    run("migrate", verbosity=0)
    made(uuid4())
    with pytest.raises(DatabaseError, match="data keys are kept"):
        PersonalKey.objects.all().delete()


def test_a_read_database_is_flushed_and_rebuilt_with_every_name() -> None:
    registered("Eva", "Finn")
    before, rows = contents(), projected()
    run("flush", database="users", interactive=False)
    assert not User.objects.exists()
    assert "DELETE FROM" in (statements := run("sqlflush", database="orders")) or "TRUNCATE" in statements
    run("replay_events", "--no-progress")
    assert contents() == before
    assert projected() == rows == folded()


def test_logins_may_be_flushed_while_there_is_nothing_else_to_lose() -> None:
    get_user_model().objects.create_superuser("root")
    run("flush", database="default", interactive=False)
    assert not get_user_model().objects.exists()
    registered("Eva")
    assert User.objects.get().name == "Eva"


def dumped(tmp_path: Path) -> str:
    file = tmp_path / "keys.json"
    file.write_text(run("dumpdata", "keys.PersonalKey", "--database", "keys"))
    return str(file)


def load(file: str) -> None:
    run("loaddata", file, "--database", "keys")


def test_data_keys_move_by_a_dump_which_may_be_loaded_again(tmp_path: Path) -> None:
    eva, finn = registered("Eva", "Finn")
    dispatch(EraseUser(eva, "by letter"))
    before, file = contents(), dumped(tmp_path)
    erase("keys")
    assert {event.data["name"] for event in store.read_all(types=["users.UserRegistered"])} == {"[erased]"}
    for _ in range(2):
        load(file)
        assert contents() == before
    names = [event.data["name"] for event in store.read_all(types=["users.UserRegistered"])]
    assert names == ["[erased]", "Finn"]
    assert data_keys.find([eva, finn]).keys() == {finn}


def test_a_dump_from_before_an_erasure_does_not_undo_it(tmp_path: Path) -> None:
    eva, finn = registered("Eva", "Finn")
    file = dumped(tmp_path)
    dispatch(EraseUser(eva, "by letter"))
    lose(finn)
    before = contents()
    with pytest.raises(IntegrityError, match="does not come back"):
        load(file)
    assert contents() == before
    documents = json.loads(Path(file).read_text())
    Path(file).write_text(json.dumps([document for document in documents if document["pk"] != str(eva)]))
    load(file)
    assert data_keys.find([eva, finn]).keys() == {finn}


def test_a_dump_from_before_rotate_keys_does_not_bring_the_old_wrapping_back(tmp_path: Path, settings: Any) -> None:
    registered("Eva")
    older = Path(dumped(tmp_path)).rename(tmp_path / "older.json")
    settings.PREVIOUS_KEY_ENCRYPTION_KEYS = [settings.KEY_ENCRYPTION_KEY]
    settings.KEY_ENCRYPTION_KEY = b"r" * 32
    run("rotate_keys", "--no-progress")
    before, newer = contents(), dumped(tmp_path)
    with pytest.raises(IntegrityError, match="only a newer wrapping"):
        load(str(older))
    assert contents() == before
    erase("keys")
    for file in (str(older), newer):
        load(file)
    assert contents() == before


def test_the_key_of_another_installation_does_not_replace_this_ones(tmp_path: Path) -> None:
    registered("Eva")
    file = dumped(tmp_path)
    erase("keys")
    made(data_keys.INSTALLATION)
    before = contents()
    with pytest.raises(IntegrityError, match="data keys are kept"):
        load(file)
    assert contents() == before


def test_events_are_not_replaced_by_a_dump_of_them(tmp_path: Path) -> None:
    registered("Eva")
    file = tmp_path / "log.json"
    file.write_text(
        run("dumpdata", "eventlog.StoredEvent", "--database", "eventlog").replace("UserRegistered", "Forged")
    )
    before = contents()
    with pytest.raises(DatabaseError):
        run("loaddata", str(file), "--database", "eventlog")
    assert contents() == before
