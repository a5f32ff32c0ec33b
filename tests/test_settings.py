"""Settings are safe by default, and say what is wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
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


def test_an_unknown_way_of_projecting_is_refused(tmp_path: Path) -> None:
    assert "PROJECTIONS is inline or worker" in check(tmp_path, SECRET_KEY="x" * 60, PROJECTIONS="later").stderr


def test_production_settings_pass_djangos_deployment_check(tmp_path: Path) -> None:
    secure = {"SECRET_KEY": "only-for-this-check-" * 4, "ALLOWED_HOSTS": "shop.example", "SECURE_SSL_REDIRECT": "on"}
    result = check(tmp_path, "--deploy", "--fail-level", "WARNING", SECURE_HSTS_SECONDS="3600", **secure)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("proxies", "secure"), [("0", "False"), ("1", "True")])
def test_a_proxy_is_believed_that_it_was_asked_by_tls_where_there_is_one(
    tmp_path: Path, proxies: str, secure: str
) -> None:
    ask = "Client(headers={'X-Forwarded-Proto': 'https'}).get('/livez').wsgi_request.is_secure()"
    script = f"from django.test import Client; print({ask})"
    result = manage(tmp_path, "shell", "-v0", "-c", script, SECRET_KEY="x" * 60, NUM_PROXIES=proxies)
    assert result.stdout.strip() == secure, result.stderr


@pytest.mark.parametrize("entry", ["", "config.asgi", "config.wsgi"])
def test_once_it_is_up_garbage_is_collected_and_the_start_is_left_alone(tmp_path: Path, entry: str) -> None:
    look = f"import gc{entry and f', {entry}'}; print(gc.isenabled(), gc.get_freeze_count() > 0)"
    result = manage(tmp_path, "shell", "-v0", "-c", look, SECRET_KEY="x" * 60)
    assert result.stdout.strip() == "True True", result.stderr
