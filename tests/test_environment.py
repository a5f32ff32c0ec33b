"""Settings are taken as they are written, and an error names the variable and never its value."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment
from tests.test_settings import check, manage

pytestmark = pytest.mark.django_db(databases=[])  # the settings are read by other processes

ODD = [
    "$HOME",
    "$",
    "${A}",
    "a$b",
    "#x",
    "a # b",
    "'",
    '"',
    "a'b\"c",
    "\\n\\",
    "p%40",
    "é\u2028\x85ü",
    "a=b=c",
    "a, b ,",
]


def read_file(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    (folder / ".env").write_text(text, encoding="utf-8")
    Environment.read_env(folder / ".env")


def test_a_text_is_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in [*ODD, " a ", "  "]:
        monkeypatch.setenv("TEXT", text)
        assert Environment().str("TEXT") == text


def test_a_file_sets_what_the_environment_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["# a comment", "", *(f"N{number}={text}" for number, text in enumerate(ODD)), "export A = b c \r"]
    lines += ["Q='a b '", r'D="\"x\" \$y \n"', "E="]
    read_file(tmp_path, "\n".join(lines), monkeypatch)
    assert [os.environ[f"N{number}"] for number in range(len(ODD))] == ODD
    assert [os.environ[name] for name in "AQDE"] == ["b c", "a b ", '"x" $y \\n', ""]
    (tmp_path / ".env").write_text("A=other\nB=new")
    Environment.read_env(tmp_path / ".env")
    assert (os.environ["A"], os.environ["B"]) == ("b c", "new")
    Environment.read_env(tmp_path / "nothing")


def test_a_bad_line_of_the_file_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"\.env, line 2: not NAME=value$"):
        read_file(tmp_path, "A=1\nSECRET-hunter2", monkeypatch)


def test_lists_switches_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Environment()
    for text, items in (("a, b", ["a", "b"]), (" a ,,$b, ", ["a", "$b"]), (",", [])):
        monkeypatch.setenv("LIST", text)
        assert env.list("LIST") == items
    for text, on in (("ON", True), (" yes ", True), ("0", False), ("Off", False)):
        monkeypatch.setenv("SWITCH", text)
        assert env.bool("SWITCH", default=not on) is on
    for name in ("LIST", "SWITCH", "NUMBER"):
        monkeypatch.setenv(name, "")
    assert (env.list("LIST", default=["a"]), env.bool("SWITCH", default=True), env.int("NUMBER", default=7)) == (
        ["a"],
        True,
        7,
    )


PASSWORDS = {"$ecret": "$ecret", "a%40b%2Fc%3F%23": "a@b/c?#", "p%25": "p%", "a+b": "a+b", "%24x": "$x"}


def test_a_password_of_a_url_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, password in PASSWORDS.items():
        monkeypatch.setenv("URL", f"postgres://app:{written}@db.example:5433/shop?sslmode=require")
        found = Environment().database("URL")
        assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == ("app", password, "db.example", 5433)
        assert (found["NAME"], found["OPTIONS"]) == ("shop", {"sslmode": "require"})


def test_one_url_leads_to_every_database_that_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EACH_DATABASE_URL", "postgres://app_{alias}:secret@db.example/shop_{alias}")
    monkeypatch.setenv("USERS_DATABASE_URL", "postgres://other@elsewhere/people")
    databases = {name: Environment().database(f"{name.upper()}_DATABASE_URL", name) for name in ("users", "payments")}
    found = [(each["USER"], each["HOST"], each["NAME"]) for each in databases.values()]
    assert found == [("other", "elsewhere", "people"), ("app_payments", "db.example", "shop_payments")]
    assert Environment().database("ORDERS_REPLICA_URL") == {}  # it is not for replicas
    monkeypatch.setenv("EACH_DATABASE_URL", "postgres://app:secret@db.example/shop")
    with pytest.raises(ImproperlyConfigured, match=r"EACH_DATABASE_URL has no \{alias\}, so all databases"):
        Environment().database("PAYMENTS_DATABASE_URL", "payments")


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("14d", timedelta(days=14)),
        (" 12H ", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("2s", timedelta(seconds=2)),
        ("0s", timedelta(0)),
        ("off", None),
    ],
)
def test_a_time_is_a_number_with_its_unit_or_off(monkeypatch: pytest.MonkeyPatch, text: str, means: Any) -> None:
    monkeypatch.setenv("TIME", text)
    assert Environment().duration("TIME", "1d") == means
    monkeypatch.delenv("TIME")
    assert Environment().duration("TIME", "1d") == timedelta(days=1)


@pytest.mark.parametrize("text", ["14", "d", "-1d", "1.5h", "1w", "1d2h", "٣d", "365001d", "999999999999s", "on"])
def test_any_other_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TIME", text)
    with pytest.raises(ImproperlyConfigured, match="TIME is a time as in 14d"):
        Environment().duration("TIME", "1d")


SECRET = "hunter2"
MALFORMED = {
    **dict.fromkeys(("NUM_PROXIES", "SQLITE_TIMEOUT", "IDEMPOTENCY_HOURS"), f"{SECRET}.5"),
    **dict.fromkeys(("DEBUG", "SECURE_COOKIES", "SECURE_SSL_REDIRECT"), f"yes-{SECRET}"),
    "ALLOWED_HOSTS": f"{SECRET}\udcff",  # a byte that is not UTF-8
    "CLIENT_PATIENCE": f"{SECRET}s",
    "KEY_ENCRYPTION_KEY": f"${SECRET}",
    "PREVIOUS_KEY_ENCRYPTION_KEYS": f"{SECRET}, {SECRET}",
    "PROJECTIONS": SECRET,
    "PAYMENT_DEADLINE": SECRET,
    "SERVE": f"users, {SECRET}",
    "ORDERS_REPLICA_URL": f"postgres://app:{SECRET}@db/orders",  # of a primary on SQLite
    "EVENTLOG_REPLICA_URL": f"postgres://app:{SECRET}@db/eventlog",
    "USERS_DATABASE_URL": f"postgres://app:{SECRET}/x@db/users",
    "ORDERS_DATABASE_URL": f"oracle://app:{SECRET}@db/orders",
    "EVENTLOG_DATABASE_URL": f"postgres://app:{SECRET}@db",
    "DEFAULT_DATABASE_URL": f"{SECRET}",
}


def test_a_malformed_setting_is_one_line_that_names_it(tmp_path: Path) -> None:
    for name, value in MALFORMED.items():
        (folder := tmp_path / name).mkdir()
        environment = {"SECRET_KEY": f"$x{SECRET}" * 9, name: value}
        result = check(folder, **environment)
        assert result.returncode == 1, name
        assert result.stderr.count("\n") == 1, result.stderr
        assert name in result.stderr
        assert SECRET not in result.stdout + result.stderr, name


def test_a_secret_key_may_begin_with_a_dollar(tmp_path: Path) -> None:
    show = "from django.conf import settings; print(settings.SECRET_KEY, settings.ALLOWED_HOSTS)"
    secret = "$not-a-name-" * 5
    result = manage(tmp_path, "shell", "-v0", "-c", show, SECRET_KEY=secret, ALLOWED_HOSTS="shop.example, .shop.test")
    assert result.stdout.strip() == f"{secret} ['shop.example', '.shop.test']", result.stderr
