"""The pages about security claim what a test shows: the tests that they name exist, and no requirement is left out.

Each guard is also shown to find a planted fault.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.test_docs import ROOT, TICKED, missing

PAGES = ["docs/security.md", "docs/reference/asvs.md"]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
HOLDS, NOT_HERE, OPEN = VERDICTS = ("holds", "does not apply", "open")

# The requirements of ASVS 4.0.3 at levels 1 and 2; the numbers between were given up, or are of level 3.
ASVS = """
1.1.1-7 1.2.1-4 1.4.1 1.4.4-5 1.5.1-4 1.6.1-4 1.7.1-2 1.8.1-2 1.9.1-2 1.10.1 1.11.1-2 1.12.2 1.14.1-6
2.1.1-12 2.2.1-3 2.3.1-3 2.4.1-5 2.5.1-7 2.6.1-3 2.7.1-6 2.8.1-7 2.9.1-3 2.10.1-4
3.1.1 3.2.1-4 3.3.1-4 3.4.1-5 3.5.1-3 3.7.1
4.1.1-3 4.1.5 4.2.1-2 4.3.1-3
5.1.1-5 5.2.1-8 5.3.1-10 5.4.1-3 5.5.1-4
6.1.1-3 6.2.1-6 6.3.1-2 6.4.1-2
7.1.1-4 7.2.1-2 7.3.1 7.3.3-4 7.4.1-3
8.1.1-4 8.2.1-3 8.3.1-8
9.1.1-3 9.2.1-4
10.2.1-2 10.3.1-3
11.1.1-8
12.1.1-3 12.2.1 12.3.1-6 12.4.1-2 12.5.1-2 12.6.1
13.1.1 13.1.3-5 13.2.1-3 13.2.5-6 13.3.1-2 13.4.1-2
14.1.1-4 14.2.1-6 14.3.2-3 14.4.1-7 14.5.1-4
"""
API_TOP_10 = [f"API{number}" for number in range(1, 11)]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


@cache
def names_in(file: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(file.read_text())) if file.is_file() else []
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def unknown_tests(text: str, root: Path = ROOT) -> list[str]:
    """The tests that a page names and that do not exist; also what looks like the name of one and is not."""
    named = TEST.findall(text)
    found = [f"{file}::{name}" for file, name in named if name not in names_in(root / file)]
    found += [f"{file}::{name}" for file, name in named if not name.startswith("test_")]
    return found + ["a name is not in the form"] * (text.count("::") - len(named))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables, without heads and lines."""
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("|") and before.startswith("|") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def without_evidence(text: str) -> list[str]:
    """Rows that claim something and name neither a test nor, where one has to judge the code, a file."""
    claims = [row for row in rows(text) if HOLDS in row or (len(row) == 3 and not set(VERDICTS) & set(row))]
    return [row[0] for row in claims if not TEST.search(row[-1]) and not (HOLDS in row and _names_a_file(row[-1]))]


def _names_a_file(cell: str) -> bool:
    return any((ROOT / name).is_file() for name in TICKED.findall(cell))


def without_reason(text: str) -> list[str]:
    return [row[0] for row in rows(text) if {NOT_HERE, OPEN} & set(row) and not row[-1]]


def requirements() -> list[str]:
    """Every number of ASVS, written out."""
    found = []
    for part in ASVS.split():
        section, _, numbers = part.rpartition(".")
        first, _, last = numbers.partition("-")
        found += [f"{section}.{number}" for number in range(int(first), int(last or first) + 1)]
    return found


def judged(text: str) -> dict[str, str]:
    """The verdict on each item. Raises ValueError for an item that has none, or is there twice."""
    found: dict[str, str] = {}
    for row in rows(text):
        verdicts = [cell for cell in row if cell in VERDICTS]
        name = row[0].split(" ")[0]
        if re.fullmatch(r"API\d+|\d+\.\d+\.\d+", name):
            if len(verdicts) != 1 or name in found:
                raise ValueError(name)
            found[name] = verdicts[0]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_claim_names_a_test_or_a_file_that_exists(page: str) -> None:
    text = text_of(page)
    assert len(TEST.findall(text)) > 50
    assert unknown_tests(text) == []
    assert missing(text) == []
    assert without_evidence(text) == []
    assert without_reason(text) == []


def test_both_catalogues_are_gone_through_item_by_item() -> None:
    assert len(requirements()) == 259
    assert list(judged(text_of("docs/reference/asvs.md"))) == requirements()
    assert list(judged(text_of("docs/security.md"))) == API_TOP_10


def test_the_page_counts_its_verdicts_rightly() -> None:
    text = text_of("docs/reference/asvs.md")
    count = Counter(judged(text).values())
    sentence = f"Of 259 requirements, {count[HOLDS]} hold, {count[NOT_HERE]} do not apply, and {count[OPEN]} are open."
    assert sentence in " ".join(text.split())


PLANTED = {
    "a test that is gone": "`tests/users/test_logins.py::test_nothing_of_the_kind`",
    "a file that is gone": "`tests/users/test_nowhere.py::test_a_user_registers`",
    "a helper for a test": "`tests/users/test_logins.py::guess`",
    "a name without its file": "`test_logins.py::test_parallel_guesses_are_no_more_than_the_limit`",
}


@pytest.mark.parametrize("name", PLANTED.values(), ids=PLANTED)
def test_a_planted_name_of_no_test_is_found(name: str) -> None:
    good = "`tests/users/test_logins.py::test_parallel_guesses_are_no_more_than_the_limit`"
    assert unknown_tests(f"| a | b | {good} |") == []
    assert len(unknown_tests(f"| a | b | {good}, {name} |")) == 1


def test_a_planted_claim_without_evidence_or_reason_is_found() -> None:
    head = "| | asks for | | by, or why |\n| --- | --- | --- | --- |\n"
    assert without_evidence(f"{head}| 1.1.1 | a | holds | we believe so |\n| 1.1.2 | b | open | no |\n") == ["1.1.1"]
    assert without_evidence(f"{head}| 1.1.1 | a | holds | `config/settings.py` |\n") == []
    three = "| try to | stopped by | shown by |\n| --- | --- | --- |\n"
    assert without_evidence(f"{three}| guess | a count | `config/settings.py` |\n") == ["guess"]
    assert without_reason(f"{head}| 1.1.1 | a | open | |\n| 1.1.2 | b | does not apply | no SOAP |\n") == ["1.1.1"]


@pytest.mark.parametrize("line", ["| 1.1.1 | a | perhaps | b |\n", "| 1.1.1 | a | open | b |\n" * 2])
def test_a_planted_item_without_one_verdict_is_found(line: str) -> None:
    with pytest.raises(ValueError, match=r"1\.1\.1"):
        judged(f"| | asks for | | why |\n| --- | --- | --- | --- |\n{line}")
