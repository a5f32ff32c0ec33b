"""The lines of a process's log: a time each, no values of rows, and nothing that looks like a line and is none."""

import logging
import re
from typing import Any

import pytest
from django.conf import settings
from django.db import Error, connections

from apps.eventlog.monitoring.lines import LineFormatter
from apps.eventlog.server.complaints import SAY_AGAIN, Complaints
from apps.users.models import User
from tests.support.history import make_history

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ERROR tests: ")
SECRET = "eve@example.org"


def formatted(message: str, *arguments: Any, error: BaseException | None = None) -> str:
    """What the configured handler would write."""
    config = settings.LOGGING["formatters"]["line"]
    assert config["()"] == f"{LineFormatter.__module__}.{LineFormatter.__name__}"
    record = logging.LogRecord("tests", logging.ERROR, "", 0, message, arguments, None)
    record.exc_info = (type(error), error, error.__traceback__) if error else None
    return LineFormatter(config["form"]).format(record)


@pytest.fixture
def refusal() -> Error:
    """What PostgreSQL says of a second row with the same key, wrapped in an error of ours."""
    make_history(users=1, commands=0)
    user = User.objects.get()
    with pytest.raises(Error) as caught, connections["users"].cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX twice ON users_user (email)")
        try:
            User.objects.filter(pk=user.pk).update(email=f"{SECRET}\nDETAIL: more")
            user.pk, user.email = type(user.pk)(int=1), f"{SECRET}\nDETAIL: more"
            user.save(force_insert=True)
        finally:
            cursor.execute("DROP INDEX twice")
    return caught.value


def test_a_message_is_one_line_without_values_of_rows(refusal: Error) -> None:
    text = formatted("orders cannot be followed: %s", refusal)
    assert LINE.match(text)
    assert len(text.splitlines()) == 1
    assert SECRET not in text
    forged = formatted("no such page: %s", "/x\n2026-11-29T12:00:00.000000Z ERROR root: all is lost")
    assert len(forged.splitlines()) == 1
    every = formatted("%s", "".join(map(chr, range(0x20))) + "\x7f\x85\u2028\x9b2J")
    assert len(every.splitlines()) == 1
    assert all(each.isprintable() or each == "\t" for each in every)


def test_a_traceback_shows_every_cause_without_values_of_rows(refusal: Error) -> None:
    try:
        raise RuntimeError("the row was not written") from refusal
    except RuntimeError as error:
        text = formatted("it failed", error=error)
    assert LINE.match(text)
    assert "DETAIL" not in text
    assert SECRET not in text
    assert text.count("Traceback (most recent call last)") == 3  # of the driver, of Django, and of ours
    assert text.endswith("  RuntimeError: the row was not written")


def test_what_goes_on_failing_is_said_when_it_begins_changes_or_a_minute_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints = Complaints()
    for error in ("refused", "refused", "refused", "too many clients", "too many clients"):
        complaints.say("orders", Error(error))
    complaints.last["orders"] = "too many clients", complaints.last["orders"][1] - SAY_AGAIN
    complaints.say("orders", Error("too many clients"))
    said = [record.message.rpartition(": ")[2] for record in caplog.records]
    assert said == ["refused", "too many clients", "too many clients"]
