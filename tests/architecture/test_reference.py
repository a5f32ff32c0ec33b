"""The pages of docs/reference/ that follow from the code are as the code says."""

import subprocess
import sys
from pathlib import Path

from tools import reference, reference_doors


def test_the_pages_are_as_the_code_says(root: Path) -> None:
    check = [sys.executable, "tools/reference.py", "--check"]
    done = subprocess.run(check, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_not_is_found() -> None:
    made = reference_doors.page()
    changed = reference.differences("doors.md", made.replace("`event_ids`", "`ids`", 1))
    assert changed.splitlines()[0] == "--- docs/reference/doors.md"
    assert "+" in changed


def test_every_door_is_on_its_page() -> None:
    doors = {path.stem for path in reference_doors.KERNEL.glob("*.py")} - {"__init__", "apps", "urls", "models"}
    assert doors == {name for name in reference_doors.DOORS if "/" not in name}  # beside those of `api/` and `admin/`
    page = reference_doors.page()
    for said in (
        "append(stream: str, events: Sequence[DomainEvent], *, expected_version: int | Expected",
        "class Process",
    ):
        assert said in page
