"""Make the pages of docs/reference/ that follow from the code; with `--check`, say which are not as it would make them.

`make reference` runs it. A test runs the check, so a docstring, an option or a route that changes changes its page.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"


def pages() -> dict[str, Callable[[], str]]:
    """Each page and who makes it. Imports Django's settings."""
    import django

    django.setup()
    from tools import reference_api, reference_commands, reference_doors

    return {
        "doors.md": reference_doors.page,
        "commands.md": reference_commands.page,
        "api.md": reference_api.page,
    }


def differences(name: str, made: str) -> str:
    """How a page differs from what the code says; empty if it does not."""
    path = FOLDER / name
    there = path.read_text() if path.exists() else ""
    lines = difflib.unified_diff(
        there.splitlines(), made.splitlines(), f"docs/reference/{name}", "the code", lineterm=""
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is not as it should be")
    check = parser.parse_args().check
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    made = {name: make() for name, make in pages().items()}
    if check and (wrong := [found for name, text in made.items() if (found := differences(name, text))]):
        sys.exit("\n".join(wrong) + "\nRun `make reference`.")
    for name, text in made.items() if not check else ():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
