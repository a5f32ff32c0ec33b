"""The links, headings and files that the pages name exist, and the map names every room.

Each guard is also shown to find a planted fault.
"""

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
KERNEL = Path("apps/eventlog")
MAP = "docs/index.md"
MOST_STEPS = 6  # files on one path of the map

LINK = re.compile(r"\]\(([^)\s]*)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TICKED = re.compile(r"`([^`\n]+)`")
PAGE = re.compile(r"\b(?:docs|benchmarks)/[\w./-]+\.md\b")


FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"var"}


def files(suffix: str) -> list[Path]:
    """The files at the root and in its folders, relative to the root."""
    found = chain(ROOT.glob(f"*{suffix}"), *((ROOT / folder).rglob(f"*{suffix}") for folder in sorted(FOLDERS)))
    return [path.relative_to(ROOT) for path in found]


def dead_links(page: Path, root: Path = ROOT) -> list[str]:
    """The relative links of a page whose file, or the heading in it, is not there."""
    links = LINK.findall(CODE_BLOCK.sub("", (root / page).read_text()))
    return [link for link in links if not link.startswith(("http:", "https:", "/")) and not _leads(root, page, link)]


def _leads(root: Path, page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = root / page.parent / name if name else root / page
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def anchors(text: str) -> set[str]:
    """The names by which links reach the headings of a page."""
    headings = HEADING.findall(CODE_BLOCK.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def paths_named(text: str) -> list[str]:
    """What stands in `ticks` and begins with a folder of the repository: `apps/users/`, `docs/index.md`."""
    words = TICKED.findall(CODE_BLOCK.sub("", text))
    return [word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", word) and word.split("/")[0] in FOLDERS]


def missing(text: str) -> list[str]:
    return [name for name in paths_named(text) if not (ROOT / name).exists()]


def rooms_and_doors(kernel: Path) -> list[str]:
    """Every entry of the kernel, as the map writes it: a folder ends in a slash."""
    inside = [path.relative_to(kernel) for path in kernel.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = {f"{path.parts[0]}/" if len(path.parts) > 1 else path.name for path in inside} - {"__init__.py"}
    return [f"{KERNEL}/{name}" for name in sorted(names)]


def unmapped(text: str, kernel: Path = ROOT / KERNEL) -> list[str]:
    return [name for name in rooms_and_doors(kernel) if name not in paths_named(text)]


def wrong_paths(text: str) -> Iterator[str]:
    """The headings of numbered lists with too many steps, or with a step that does not name one file first."""
    for section in text.split("\n### ")[1:]:
        steps = re.findall(r"^\d+\. .*(?:\n   .*)*", section, re.MULTILINE)
        firsts = [paths_named(step)[:1] for step in steps]
        if not 0 < len(steps) <= MOST_STEPS or not all(first and (ROOT / first[0]).is_file() for first in firsts):
            yield section.splitlines()[0]


@pytest.mark.parametrize("page", files(".md"), ids=str)
def test_a_page_has_no_dead_links_and_names_files_that_exist(page: Path) -> None:
    assert dead_links(page) == []
    assert missing((ROOT / page).read_text()) == []


def test_help_and_docstrings_name_pages_that_exist() -> None:
    named = {name for path in files(".py") for name in PAGE.findall((ROOT / path).read_text())}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_newest_version_of_the_changelog_is_that_of_the_code() -> None:
    newest, *older = re.findall(
        r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert newest == project["version"] == settings.SPECTACULAR_SETTINGS["VERSION"]
    assert older


def test_the_map_names_every_room_and_door() -> None:
    assert unmapped((ROOT / MAP).read_text()) == []


def test_a_path_of_the_map_has_a_file_in_each_of_at_most_six_steps() -> None:
    text = (ROOT / MAP).read_text()
    assert text.count("\n### ") == 5
    assert list(wrong_paths(text)) == []


STEPS = ["", "1. no file", "1. `apps/eventlog/log/`", "1. `docs/index.md`\n" * 7]


@pytest.mark.parametrize("steps", STEPS)
def test_a_planted_path_that_is_too_long_or_names_no_file_is_found(steps: str) -> None:
    assert list(wrong_paths(f"# The map\n\n### Nowhere\n\n{steps}\n")) == ["Nowhere"]


PLANTED_LINKS = ["nowhere.md", "other.md#no-such-heading", "#no-such-heading", "../outside.md"]
LIVE_LINKS = ["other.md", "other.md#a-heading-of-two-words", "#here", "https://example.org/nowhere", "images/"]


@pytest.mark.parametrize(("link", "found"), [*((x, [x]) for x in PLANTED_LINKS), *((x, []) for x in LIVE_LINKS)])
def test_a_planted_dead_link_is_found_and_a_live_one_is_not(tmp_path: Path, link: str, found: list[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "other.md").write_text("# Other\n\n## A `heading`, of two words\n\n```\n# no such heading\n```\n")
    (tmp_path / "page.md").write_text(f"# Here\n\nRead [this]({link}).\n")
    assert dead_links(Path("page.md"), tmp_path) == found


def test_a_planted_path_that_does_not_exist_is_found() -> None:
    text = "`apps/eventlog/store.py`, `apps/eventlog/nowhere.py`, `benchmarks/gone/`, `any/thing`, `/api/events/`"
    assert missing(text) == ["apps/eventlog/nowhere.py", "benchmarks/gone/"]


def test_a_planted_room_that_the_map_does_not_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "cellar").mkdir()
    (tmp_path / "gone" / "__pycache__").mkdir(parents=True)
    for name in ("store.py", "cellar/wine.py", "gone/__pycache__/left_behind.pyc"):
        (tmp_path / name).touch()
    assert unmapped("`apps/eventlog/store.py` and the cellar", tmp_path) == ["apps/eventlog/cellar/"]
