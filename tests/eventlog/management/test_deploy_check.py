"""`deploy_check` is quiet if all is well, and says each thing that is not, with the way out."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connections

from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption import data_keys
from apps.eventlog.log import rights, schema_lock
from apps.eventlog.management.deployment import databases
from apps.eventlog.models import Reservation
from apps.eventlog.sealing import seals, signatures
from apps.users.write.aggregates import User
from apps.users.write.commands import RegisterUser

SIGNING, PUBLIC = signatures.new_keys()
SECURE = {
    "ALLOWED_HOSTS": ["shop.example.org"],
    "KEY_ENCRYPTION_KEY": secrets.token_bytes(32),
    "METRICS_TOKEN": secrets.token_hex(32),
    "SEAL_SIGNING_KEY": SIGNING,
    "SECURE_HSTS_SECONDS": 3600,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_HSTS_PRELOAD": True,
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
}


@pytest.fixture
def well(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A deployment that lacks nothing. The tests' role is a superuser; `test_roles.py` looks at the roles."""
    for name, value in SECURE.items():
        setattr(settings, name, value)
    for name in {connections[alias].settings_dict["NAME"] for alias in databases.ALIASES}:
        if connections["default"].vendor == "sqlite":
            Path(name).chmod(0o600)
    monkeypatch.setattr(rights, "faults", lambda alias, aliases: iter(()))
    monkeypatch.setattr(databases, "LASTING", {"full_page_writes": "on"})  # a test's server syncs nothing
    get_user_model().objects.create_superuser("ops", password=secrets.token_hex(8))
    return settings


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command; what it said, without what the settings of the tests' own server lack."""

    def run() -> list[str]:
        try:
            call_command("deploy_check")
            status = 0
        except SystemExit as ended:
            status = int(str(ended.code))
        lines = capsys.readouterr().out.splitlines()
        assert status == (1 if lines else 0)
        return lines

    return run


def test_it_is_quiet_if_all_is_well(well: Any, said: Any) -> None:
    assert said() == []


def register() -> None:
    dispatch(RegisterUser(uuid4(), f"{uuid4()}@example.org", "Ann"))


SETTINGS = [
    ("DEBUG", True, "settings: DEBUG is on, so errors show the code and settings: set DEBUG=off"),
    ("ALLOWED_HOSTS", [], "settings: ALLOWED_HOSTS is empty"),
    ("ALLOWED_HOSTS", ["*"], "settings: ALLOWED_HOSTS has *"),
    ("SECURE_HSTS_SECONDS", 0, "settings: SECURE_HSTS_SECONDS is 0"),
    ("SECURE_SSL_REDIRECT", False, "settings: SECURE_SSL_REDIRECT is off"),
    ("SESSION_COOKIE_SECURE", False, "settings: SECURE_COOKIES is off"),
    ("METRICS_TOKEN", "", "settings: METRICS_TOKEN is not set"),
    ("METRICS_TOKEN", "short", "settings: METRICS_TOKEN is short"),
    ("SECRET_KEY", "short", "settings: Your SECRET_KEY has less than 50 characters"),
    ("SEAL_SIGNING_KEY", "", "seals: neither SEAL_SIGNING_KEY nor SEAL_PUBLIC_KEYS is set"),
    ("SEAL_SIGNING_KEY", "nonsense", "settings: SEAL_SIGNING_KEY: a key is 32 bytes in base64"),
]


@pytest.mark.parametrize(("name", "value", "line"), SETTINGS)
def test_a_setting_that_is_not_for_production_is_one_line(
    well: Any, said: Any, name: str, value: Any, line: str
) -> None:
    setattr(well, name, value)
    [told] = said()
    assert told.startswith(line)


def test_a_key_that_hangs_on_the_secret_key_is_said(well: Any, said: Any) -> None:
    well.KEY_ENCRYPTION_KEY = well.DERIVED_KEY
    [told] = said()
    assert told.startswith("keys: KEY_ENCRYPTION_KEY is not set")


def test_data_keys_that_no_key_opens_and_those_of_an_earlier_key_are_said(well: Any, said: Any) -> None:
    register()
    assert said() == []
    earlier, well.KEY_ENCRYPTION_KEY = well.KEY_ENCRYPTION_KEY, secrets.token_bytes(32)
    [told] = said()
    assert told.startswith("keys: the data keys of personal fields are wrapped by key-encryption key")
    well.PREVIOUS_KEY_ENCRYPTION_KEYS = [earlier]
    assert said() == ["keys: some data keys are wrapped by an earlier key-encryption key: run manage.py rotate_keys"]
    data_keys.rewrap(lambda _: None)
    assert said() == []


def test_a_migration_that_has_not_run_is_said(well: Any, said: Any) -> None:
    applied = "DELETE FROM django_migrations WHERE app = 'orders' AND name = %s"
    with connections["orders"].cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations WHERE app = 'orders' ORDER BY name DESC")
        [last, *_] = cursor.fetchone()
        cursor.execute(applied, [last])
        try:
            assert said() == [f"migrations: orders lacks orders.{last}: run manage.py migrate"]
        finally:
            insert = "INSERT INTO django_migrations (app, name, applied) VALUES ('orders', %s, %s)"
            cursor.execute(insert, [last, datetime.now(UTC)])


def test_a_database_that_is_away_is_said_and_the_others_are_looked_at(
    well: Any, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connections["orders"], "ensure_connection", away)
    well.METRICS_TOKEN = ""
    assert [line.partition(" ")[0] for line in said()] == ["settings:", "databases:"]


@pytest.mark.sqlite
def test_a_file_that_is_not_there_is_not_made_and_one_that_others_may_read_is_said(
    well: Any, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(connections["users"].settings_dict["NAME"]).chmod(0o644)
    missing = tmp_path / "orders.sqlite3"
    monkeypatch.setitem(connections["orders"].settings_dict, "NAME", missing)
    first, second = said()
    assert first.startswith("databases: others may read ")
    assert second == "migrations: orders is not there yet: run manage.py migrate"
    assert not missing.exists()


@pytest.mark.postgres
def test_a_server_that_may_lose_commits_is_said(well: Any, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "LASTING", {"fsync": "on"})
    assert len(said()) == len(databases.ALIASES)  # the tests' server runs without it
    monkeypatch.setattr(databases, "LASTING", {})
    with connections["eventlog"].cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        try:
            [told] = said()
        finally:
            cursor.execute("RESET synchronous_commit")
    assert told.startswith("server: synchronous_commit is not on at eventlog, so commits may be lost")


def test_schemas_that_are_not_locked_are_said(well: Any, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lock, "_read", lambda service: {})
    first, *_ = lines = said()
    assert first.startswith(("schema lock: orders.", "schema lock: users."))
    assert all("run make schemas" in line or "upcaster" in line for line in lines)


def test_the_demo_s_login_and_a_site_without_a_superuser_are_said(well: Any, said: Any) -> None:
    get_user_model().objects.all().delete()
    assert said() == ["logins: nobody can give out permissions: run manage.py createsuperuser"]
    get_user_model().objects.create_superuser("admin", password="admin")
    assert said() == ["logins: admin has the password of the demo: run manage.py changepassword admin"]


def test_seals_that_nobody_known_has_signed_are_said(well: Any, said: Any) -> None:
    register()
    well.SEAL_SIGNING_KEY = ""
    seals.seal_next()
    well.SEAL_PUBLIC_KEYS = [PUBLIC]
    assert said() == ["seals: no known key has signed the last seal: give SEAL_SIGNING_KEY to whoever seals"]


def test_reservations_of_an_older_version_are_said(well: Any, said: Any) -> None:
    register()
    Reservation.objects.update(form=User.holds_form - 1)
    [told] = said()
    assert "run manage.py rebuild_reservations" in told
