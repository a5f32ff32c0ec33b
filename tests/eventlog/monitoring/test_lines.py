"""Log lines: one record is one line, whatever its values contain, and it carries the ids of its request."""

import json
import logging
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.eventlog.monitoring import origin
from apps.eventlog.monitoring.lines import LineFormatter
from apps.eventlog.monitoring.origin import Origin

HOSTILE = "x\n2026-01-01T00:00:00Z INFO request status=200\r\x1b[2J\u2028\u0085\u202e\"=' "
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def line(form: str, message: str = "request", error: Exception | None = None, **fields: Any) -> str:
    record = logging.LogRecord("headrace.request", logging.INFO, "", 0, "%s", (message,), None)
    if fields:
        record.fields = fields
    if error:
        try:
            raise error
        except Exception:
            record.exc_info = sys.exc_info()
    return LineFormatter(form).format(record)


@given(st.text() | st.just(HOSTILE), st.text(min_size=1, max_size=300) | st.just(HOSTILE))
def test_a_record_is_one_line_whatever_it_says(message: str, value: str) -> None:
    for form in ("text", "json"):
        assert len(line(form, message, route=value).splitlines()) == 1
    read = json.loads(line("json", message, route=value))
    assert (read["event"], read["route"]) == (message, value)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_cannot_look_like_another_line(form: str) -> None:
    first, *others = line(form, error=ValueError(HOSTILE)).splitlines()
    assert "ValueError" in "".join([first, *others])
    assert bool(others) == (form == "text")
    assert all(re.match(" {2}", each) for each in others)


def test_a_line_has_its_fields_in_one_order_and_any_other_the_ids_of_its_request() -> None:
    read = json.loads(line("json", status=200, ms=1.5, who="staff-1", correlation_id=""))
    assert list(read) == ["time", "level", "event", "logger", "status", "ms", "who"]
    assert re.fullmatch(r'[\dT:.-]+Z INFO request status=200 who="a b"', line("text", status=200, who="a b"))
    with origin.within(Origin("r-1", TRACEPARENT, "c-1")):
        of_a_library = json.loads(line("json", "oh"))
        text = line("text", "oh")
    assert (of_a_library["request_id"], of_a_library["correlation_id"]) == ("r-1", "c-1")
    ids = f"request_id=r-1 traceparent={TRACEPARENT} correlation_id=c-1"
    assert re.fullmatch(rf"\S+Z INFO headrace.request: oh {ids}", text)


@pytest.mark.parametrize("given", ["r-1", "x" * 200, "a b", "~!"])
def test_a_request_id_is_taken(given: str) -> None:
    assert Origin.of_headers(given, "").request_id == given


@pytest.mark.parametrize("given", ["", "x" * 201, "a\tb", "\x7f", "é", "\x85"])
def test_a_request_id_that_is_none_is_made_anew(given: str) -> None:
    made = Origin.of_headers(given, "").request_id
    assert made != given
    assert made != Origin.of_headers(given, "").request_id


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (TRACEPARENT, True),
        (TRACEPARENT.replace("00-", "cc-", 1) + "-more", True),
        (TRACEPARENT + "-more", False),
        (TRACEPARENT.replace("00-", "ff-", 1), False),
        (TRACEPARENT.upper(), False),
        (re.sub("-[0-9a-f]{32}-", f"-{'0' * 32}-", TRACEPARENT), False),
        (re.sub("-[0-9a-f]{16}-", f"-{'0' * 16}-", TRACEPARENT), False),
        (TRACEPARENT + "\n", False),
        ("", False),
    ],
)
def test_a_traceparent_is_taken_as_the_standard_has_it(given: str, taken: bool) -> None:
    assert Origin.of_headers("r", given).traceparent == (given if taken else "")


def test_an_event_of_another_system_may_say_anything() -> None:
    assert Origin.of_event({"request_id": 7, "traceparent": None, "correlation_id": "c"}) == Origin("", "", "c")
