"""Settings are safe by default, and say what is wrong."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from config.environment import is_weak

pytestmark = pytest.mark.django_db(databases=[])  # the settings are read by other processes

ROOT = Path(__file__).resolve().parent.parent
STRONG = "only-for-this-check-" * 4
CLEAN = {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}


def check(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` by a copy of the settings that no .env reaches."""
    return manage(tmp_path, "check", *arguments, **environment)


def manage(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "apps").symlink_to(ROOT / "apps")
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copy(ROOT / "manage.py", tmp_path)  # not a link, which would lead to the .env beside the real one
    variables = {name: CLEAN[name] for name in ("PATH", "HOME") if name in CLEAN} | {"DATA_DIR": str(tmp_path / "var")}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=tmp_path,
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_a_secret_key_nothing_starts(tmp_path: Path) -> None:
    assert "SECRET_KEY" in check(tmp_path).stderr


WEAK = {
    "short": "Zt7-q9Kw",
    "one character short": (STRONG * 2)[:49],
    "few characters": "abcd" * 20,
    "one character": "x" * 60,
    "Django's own": "django-insecure-" + STRONG,
    "a sample": "change-me-" + STRONG,
    "another": STRONG + "your_secret_key",
}


def test_a_weak_or_sample_key_is_refused_unless_debug_is_on(tmp_path: Path) -> None:
    for name, key in WEAK.items():
        (folder := tmp_path / name).mkdir()
        refused = check(folder, SECRET_KEY=key)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), (name, refused.stderr)
        assert "SECRET_KEY is weak" in refused.stderr
        assert key not in refused.stderr
        assert is_weak(key)
    (folder := tmp_path / "debug").mkdir()
    assert check(folder, SECRET_KEY="x", DEBUG="on").returncode == 0


def test_what_chance_makes_is_strong() -> None:
    for make in (secrets.token_urlsafe, secrets.token_hex):
        assert not any(is_weak(make(50)) for _ in range(200))


def test_an_unknown_way_of_projecting_is_refused(tmp_path: Path) -> None:
    assert "PROJECTIONS is inline or worker" in check(tmp_path, SECRET_KEY=STRONG, PROJECTIONS="later").stderr


REPLICA = "import json; from django.conf import settings; print(json.dumps(settings.REPLICAS))"
PRIMARY = {"SECRET_KEY": STRONG, "ORDERS_DATABASE_URL": "postgres://app@one/shop"}


def test_sessions_at_a_replica_are_read_only_and_any_of_several_hosts_does(tmp_path: Path) -> None:
    found = manage(
        tmp_path, "shell", "-v0", "-c", REPLICA, **PRIMARY, ORDERS_REPLICA_URL="postgres://app@two,three/shop"
    )
    replica = json.loads(found.stdout)["orders"]
    assert (replica["HOST"], replica["NAME"]) == ("two,three", "shop")
    assert "default_transaction_read_only=on" in replica["OPTIONS"]["options"]
    several = (replica["OPTIONS"]["target_session_attrs"], replica["OPTIONS"]["load_balance_hosts"])
    assert several == ("any", "random")


def test_what_is_left_out_needs_no_replica_and_a_past_has_none(tmp_path: Path) -> None:
    for name, environment in {"apart": {"SERVE": "users"}, "past": {"DATABASE_SUFFIX": "then"}}.items():
        (folder := tmp_path / name).mkdir()
        url = {"ORDERS_REPLICA_URL": "postgres://app@two/shop"}
        assert manage(folder, "shell", "-v0", "-c", REPLICA, **PRIMARY, **url, **environment).stdout.strip() == "{}"


def test_production_settings_pass_djangos_deployment_check(tmp_path: Path) -> None:
    secure = {"SECRET_KEY": STRONG, "ALLOWED_HOSTS": "shop.example", "SECURE_SSL_REDIRECT": "on"}
    result = check(tmp_path, "--deploy", "--fail-level", "WARNING", SECURE_HSTS_SECONDS="3600", **secure)
    assert result.returncode == 0, result.stderr


def test_static_files_are_collected_where_a_setting_says(tmp_path: Path) -> None:
    result = manage(
        tmp_path, "collectstatic", "--noinput", "-v0", SECRET_KEY=STRONG, STATIC_ROOT=str(tmp_path / "kept")
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "kept/eventlog/live.js").exists()


@pytest.mark.parametrize(("proxies", "secure"), [("0", "False"), ("1", "True")])
def test_a_proxy_is_believed_that_it_was_asked_by_tls_where_there_is_one(
    tmp_path: Path, proxies: str, secure: str
) -> None:
    ask = "Client(headers={'X-Forwarded-Proto': 'https'}).get('/livez').wsgi_request.is_secure()"
    script = f"from django.test import Client; print({ask})"
    result = manage(tmp_path, "shell", "-v0", "-c", script, SECRET_KEY=STRONG, NUM_PROXIES=proxies)
    assert result.stdout.strip() == secure, result.stderr


@pytest.mark.parametrize("entry", ["", "config.asgi", "config.wsgi"])
def test_once_it_is_up_garbage_is_collected_and_the_start_is_left_alone(tmp_path: Path, entry: str) -> None:
    look = f"import gc{entry and f', {entry}'}; print(gc.isenabled(), gc.get_freeze_count() > 0)"
    result = manage(tmp_path, "shell", "-v0", "-c", look, SECRET_KEY=STRONG)
    assert result.stdout.strip() == "True True", result.stderr


LOOK = "import json; from django.conf import settings; print(json.dumps(settings.DATABASES['orders']['OPTIONS']))"


def options(tmp_path: Path, query: str = "", host: str = "db.example", command: str = "shell") -> dict[str, object]:
    """The options with which a process of this command reaches PostgreSQL."""
    code = f"import sys; sys.argv = ['manage.py', '{command}']; {LOOK}"
    url = f"postgres://headrace@{host}/orders{query}"
    arguments = {"SECRET_KEY": STRONG, "ORDERS_DATABASE_URL": url, "DATA_DIR": str(tmp_path / "var")}
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", "PATH": os.environ["PATH"]} | arguments
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_nothing_waits_for_postgresql_without_end(tmp_path: Path) -> None:
    found = options(tmp_path, command="run_projectors")
    for name in ("connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_count"):
        assert isinstance(found[name], int)
    for setting in ("statement_timeout=15s", "lock_timeout=10s", "idle_in_transaction_session_timeout=30s"):
        assert f"-c {setting}" in str(found["options"])
    assert "target_session_attrs" not in found


@pytest.mark.parametrize("command", ["replay_events", "import_events", "migrate", "seal_events"])
def test_what_an_operator_runs_may_take_long(tmp_path: Path, command: str) -> None:
    found = str(options(tmp_path, command=command)["options"])
    assert "-c statement_timeout=0 -c lock_timeout=0" in found  # also where `print_roles --pool` has set limits
    assert "idle_in_transaction_session_timeout=30s" in found


def test_a_url_overrides_each_limit_and_keeps_the_others(tmp_path: Path) -> None:
    query = "?tcp_user_timeout=9000&options=-c%20statement_timeout%3D60s"
    found = options(tmp_path, query, command="runserver")
    assert (found["tcp_user_timeout"], found["keepalives_idle"]) == (9000, 5)
    text = str(found["options"])
    assert text.index("statement_timeout=15s") < text.index("statement_timeout=60s")  # the later one holds
    assert "lock_timeout=10s" in text


def test_of_several_hosts_the_one_that_takes_writes_is_meant(tmp_path: Path) -> None:
    assert options(tmp_path, host="one:5432,two:5433")["target_session_attrs"] == "read-write"
    chosen = options(tmp_path, "?target_session_attrs=any", host="one,two")
    assert chosen["target_session_attrs"] == "any"


def test_behind_a_pooler_of_transactions_nothing_is_asked_of_the_session(tmp_path: Path) -> None:
    found = options(tmp_path, "?pool=transaction&connect_timeout=9", command="run_projectors")
    assert not {"options", "pool"} & found.keys()
    assert (found["prepare_threshold"], found["connect_timeout"], found["keepalives_idle"]) == (None, 9, 5)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?pool=statement", "pool is transaction, or left out"),
        ("?pool=5", "pool is transaction, or left out"),
        ("?pool=transaction&options=-c%20statement_timeout%3D60s", "there is no options: set them for the role"),
        ("?pool=transaction&assume_role=other", "there is no assume_role: connect as that role"),
    ],
)
def test_what_a_pooler_of_transactions_cannot_keep_is_refused(tmp_path: Path, query: str, said: str) -> None:
    result = check(tmp_path, SECRET_KEY=STRONG, ORDERS_DATABASE_URL=f"postgres://headrace:hush@db.example/o{query}")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"ORDERS_DATABASE_URL: {said}" in result.stderr.replace("with pool=transaction ", "")
    assert "hush" not in result.stderr


ASKED = """
from config.environment import Environment
asked, get_value = set(), Environment.get_value
Environment.get_value = lambda self, var, *more, **options: asked.add(var) or get_value(self, var, *more, **options)
import config.settings
print(*sorted(asked))
"""
TICKED = re.compile(r"`([A-Z][A-Z_]+)`")


REFUSED = {f"{alias}_REPLICA_URL" for alias in ("DEFAULT", "KEYS", "EVENTLOG", "PROCESSES")}


# The page names the databases of users and orders, which stand for those of every service.
OF_A_TEAM = tuple(f"{each.upper()}_" for each in settings.SERVICES if each not in ("users", "orders"))


def unlisted(asked: set[str], page: str) -> list[str]:
    """The variables that the first column of the table of settings does not name, but not those that are refused."""
    named = {name for row in page.splitlines() for name in TICKED.findall(row.partition(" | ")[0])}
    return sorted(each for each in asked - named - REFUSED if not each.startswith(OF_A_TEAM))


def test_the_reference_lists_every_variable_that_the_settings_read(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": STRONG, "DATA_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    asked = set(run.stdout.split())
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert {"SECRET_KEY", "ORDERS_DATABASE_URL", "LOG_LEVEL"} <= asked
    assert unlisted(asked, page) == []
    assert unlisted(asked | {"NEW_LIMIT"}, page) == ["NEW_LIMIT"]
