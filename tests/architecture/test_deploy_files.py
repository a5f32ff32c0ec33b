"""Each file of deploy/ is read by the program that it is for, and names what there is. A planted fault is found."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.journeys.balancers import HAPROXY, NGINX, Balancer
from tests.test_settings import check

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(path.name for path in (DEPLOY / "systemd").glob("headrace-*.*") if path.is_file())
SERVICES = [name for name in UNITS if name.endswith(".service")]
MOST_EXPOSED = 20  # tenths; systemd's own scale goes to 100
VARIABLE = re.compile(r"^([A-Z_]+)=(.*)$", re.MULTILINE)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units where systemd finds them, with the programs of this tree in place of those of a host."""
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.[sc]*"):
        if path.is_file():
            text = path.read_text().replace("/srv/headrace/.venv/bin", str(Path(sys.executable).parent))
            path.write_text(text.replace("/srv/headrace", str(ROOT)))
    return tmp_path


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/system", "SYSTEMD_PAGER": ""}
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def instance(name: str) -> str:
    return name.replace("@.", "@8001.")


def verified(folder: Path, name: str) -> list[str]:
    """What systemd says of a unit of ours; of others' it says much."""
    told = analyze(folder, "verify", instance(name)).stderr.splitlines()
    return [line for line in told if str(folder) in line or "headrace" in line]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_every_unit(units: Path, name: str) -> None:
    assert verified(units, name) == []


def test_a_planted_fault_in_a_unit_is_found(units: Path) -> None:
    unit = units / "headrace-worker.service"
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    assert verified(units, unit.name)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(units: Path, name: str) -> None:
    done = analyze(units, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", instance(name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_has_an_account_that_is_not_roots() -> None:
    texts = [path.read_text() for path in (DEPLOY / "systemd").rglob("*.[sc]*") if path.is_file()]
    assert re.findall(r"^User=(.*)$", "\n".join(texts), re.MULTILINE) == ["headrace"]  # in the common part alone
    assert re.search(r"^USER headrace$", (DEPLOY / "container/Containerfile").read_text(), re.MULTILINE)


def test_a_service_without_the_common_part_is_found(units: Path) -> None:
    shutil.rmtree(units / "headrace-.service.d")
    done = analyze(units, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "headrace-worker.service")
    assert done.returncode != 0


@pytest.mark.parametrize("kind", [NGINX, HAPROXY])
def test_the_balancer_takes_its_file_and_refuses_a_planted_fault(tmp_path: Path, kind: str) -> None:
    balancer = Balancer(kind, tmp_path / kind)
    done = balancer.check()
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    for file in (tmp_path / kind).glob("h*.c*"):
        file.write_text(file.read_text().replace("max_fails=0", "max_fales=0").replace("fall 1", "fell 1"))
    assert balancer.check().returncode != 0


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *arguments]
    return subprocess.run(command, cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules_and_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    done = promtool("test", "rules", "alerts.test.yml")
    assert done.returncode == 0, done.stderr
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    (tmp_path / "prometheus/headrace.token").write_text("token")
    configuration = tmp_path / "prometheus/prometheus.yml"
    assert promtool("check", "config", str(configuration)).returncode == 0
    configuration.write_text(configuration.read_text().replace("static_configs", "static_config"))
    assert promtool("check", "config", str(configuration)).returncode != 0


def test_the_sample_environment_is_one_for_production(tmp_path: Path) -> None:
    """As documented, with the empty values filled in, and SQLite in place of a PostgreSQL that is not there."""
    sample = dict(VARIABLE.findall((DEPLOY / "systemd/headrace.env").read_text()))
    given = {name: value for name, value in sample.items() if value and not name.endswith("_DATABASE_URL")}
    given |= {"SECRET_KEY": "only-for-this-check-" * 4, "DATA_DIR": str(tmp_path / "var")}
    done = check(tmp_path, "--deploy", "--fail-level", "WARNING", **given)
    assert done.returncode == 0, done.stderr


def known(command: list[str]) -> list[str]:
    """What is wrong with a command of manage.py: its name, or an option."""
    if "manage.py" not in command:
        return []
    name, *rest = command[command.index("manage.py") + 1 :]
    if name not in get_commands():
        return [f"no command {name}"]
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    try:
        parser.parse_args([word.replace("${NATS_URL}", "nats://127.0.0.1:4222") for word in rest])
    except Exception as error:
        return [f"{name}: {error}"]
    return []


def commands_of_units() -> list[list[str]]:
    lines = "\n".join((DEPLOY / "systemd" / name).read_text() for name in SERVICES).replace("\\\n", " ")
    found = [shlex.split(line) for line in re.findall(r"^ExecStart=(.*)$", lines, re.MULTILINE)]
    return [shlex.split(words[-1]) if "-c" in words else words for words in found]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "container/compose.yml").read_text())["services"])


def test_every_command_of_deploy_exists_with_its_options() -> None:
    units, services = commands_of_units(), [each["command"] for each in compose().values() if "command" in each]
    assert sum("manage.py" in command for command in units) == len(SERVICES) - 1  # all but the web server
    assert sum("manage.py" in command for command in services) >= 4
    assert [fault for command in (*units, *services) for fault in known(command)] == []
    assert known(["python", "manage.py", "relay_event"]) == ["no command relay_event"]
    assert known(["python", "manage.py", "seal_events", "--folow"])


def test_the_services_of_the_compose_file_need_what_there_is_and_the_example_names_every_variable() -> None:
    services = compose()
    assert {"db", "web", "worker", "relay", "nats"} <= set(services)
    needed = {name for each in services.values() for name in each.get("depends_on", {})}
    assert needed <= set(services)
    asked = set(re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "container/compose.yml").read_text()))
    assert asked == {name for name, _ in VARIABLE.findall((DEPLOY / "container/example.env").read_text())}
