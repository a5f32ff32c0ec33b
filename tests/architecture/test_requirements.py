"""What is installed is pinned, by hashes, and says why it is there. The guard is also shown to find planted faults."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETS = {"requirements": (), "requirements-dev": ("requirements",), "benchmarks/requirements": ("requirements-dev",)}
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", re.MULTILINE)


def pins(text: str) -> dict[str, str]:
    """The version of each package, by its name as registries compare it."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PIN.findall(text)}


def faults(source: str, compiled: str) -> list[str]:
    """What is wrong with a list of packages and with the file that `make requirements` has made of it."""
    wanted, found = pins(source), pins(compiled)
    lines = [line for line in source.splitlines() if line and not line.startswith(("#", "-r"))]
    blocks = re.split(
        r"\n(?=\S)", "\n".join(line for line in compiled.splitlines() if not line.lstrip().startswith("#"))
    )
    return [
        *[f"no reason: {line}" for line in lines if " # " not in line],
        *[f"no pin: {line}" for line in lines if not PIN.match(line)],
        *[f"not compiled: {name}" for name, version in wanted.items() if found.get(name) != version],
        *[f"no hash: {block}" for block in blocks if block.strip() and "--hash=sha256:" not in block],
        *[f"a place: {word}" for word in re.findall(r"\S*(?:://|--index|--find-links)\S*", source + compiled)],
    ]


def read(name: str) -> tuple[str, str]:
    return (ROOT / f"{name}.in").read_text(), (ROOT / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", SETS)
def test_each_list_is_compiled_to_pins_with_hashes(name: str) -> None:
    assert faults(*read(name)) == []
    assert len(pins(read(name)[1])) > 40


def test_what_tests_need_is_apart_and_agrees() -> None:
    run, dev, bench = (pins(read(name)[1]) for name in SETS)
    assert run.items() <= dev.items() <= bench.items()
    for_tests = pins(read("requirements-dev")[0])
    assert not for_tests.keys() & run.keys()
    assert {"pytest", "httpx", "schemathesis", "mypy"} <= for_tests.keys()


GOOD = (
    "a==1  # for a\n",
    "a==1 \\\n    --hash=sha256:00\nb==2 ; python_version < '3.12' \\\n    --hash=sha256:01\n    # via a\n",
)
PLANTED = {
    "no reason": ("a==1\n", GOOD[1]),
    "no pin": ("a>=1  # for a\n", GOOD[1]),
    "not compiled": ("a==2  # for a\n", GOOD[1]),
    "no hash": (GOOD[0], "a==1 \\\n    --hash=sha256:00\nb==2\n    # via a\n"),
    "a place": (GOOD[0], f"--index-url https://registry.example\n{GOOD[1]}"),
}


@pytest.mark.parametrize(("fault", "files"), PLANTED.items())
def test_a_planted_fault_is_found(fault: str, files: tuple[str, str]) -> None:
    assert faults(*GOOD) == []
    assert any(found.startswith(fault) for found in faults(*files))


def test_make_installs_by_hashes_alone() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if re.search(r"\$\(PIP\).* -r ", line)]
    assert len(installs) == len(SETS)
    assert all("--require-hashes" in line for line in installs)
