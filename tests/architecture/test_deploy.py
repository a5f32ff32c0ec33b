"""What deploy/ asks Prometheus for exists; promtool, where it is, checks the rest (docs/how-to/monitor.md)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.eventlog.events import Place
from apps.eventlog.monitoring import instruments
from apps.eventlog.read import exposition
from apps.eventlog.read.log_state import LogState
from apps.eventlog.read.overview import Overview

ROOT = Path(__file__).resolve().parents[2]
FILES = [*(ROOT / "deploy/prometheus").glob("*.yml"), *(ROOT / "deploy/grafana").glob("*.json")]
METRIC = re.compile(r"\bheadrace_\w+")
LABELS = {"command", "outcome", "route", "status", "service", "reader", "pool", "database", "le"}


def metrics() -> set[str]:
    """The names of all samples that there can be, of a log that is there."""
    log = LogState(1, Place(), Place(), [], 0, 0.0, seals_went_back=False)
    shown = [*exposition._from_databases(Overview(log, [], [])), *exposition._from_processes()]
    names = {family.name for family in shown}
    suffixes = ("", "_bucket", "_count", "_sum", "_total")
    return {
        f"{name}{suffix}" for name in names | {"headrace_streams_open", "headrace_pool_waiting"} for suffix in suffixes
    }


def unknown(text: str) -> list[str]:
    return sorted(set(METRIC.findall(text)) - metrics())


def expressions(value: Any) -> Iterator[str]:
    """The queries of a dashboard."""
    if isinstance(value, dict):
        if isinstance(found := value.get("expr"), str):
            yield found
        value = list(value.values())
    for each in value if isinstance(value, list) else []:
        yield from expressions(each)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_metric_that_is_asked_for_exists(file: Path) -> None:
    assert unknown(file.read_text()) == []


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert unknown("sum(headrace_log_positions) > headrace_log_position") == ["headrace_log_positions"]


def test_every_metric_of_the_instruments_is_asked_for() -> None:
    asked = {name for file in FILES for name in METRIC.findall(file.read_text())}
    assert {name for name in exposition.HISTOGRAMS if not any(each.startswith(name) for each in asked)} == set()
    assert instruments.BATCH in exposition.HISTOGRAMS


def test_the_dashboard_sums_by_labels_that_there_are() -> None:
    queries = list(expressions(json.loads((ROOT / "deploy/grafana/headrace.json").read_text())))
    assert len(queries) > 10
    for query in queries:
        for labels in re.findall(r"by \(([\w, ]+)\)", query):
            assert (query, set(re.split(r", *", labels)) - LABELS) == (query, set())
