"""What is written of an error has the way to it and no values, wherever it is written."""

import io
import logging
import logging.config
import os
import subprocess
import sys

import pytest
from django.conf import settings

from apps.eventlog.replay.rebuild_lock import AlreadyRunning
from tests.journeys.deployment import ROOT

NAME = "Hipparchia"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the handler of the settings writes."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logging.config.dictConfig(settings.LOGGING)
    yield stream
    monkeypatch.undo()
    logging.config.dictConfig(settings.LOGGING)


def fail(name: str) -> None:
    try:
        int(name)
    except ValueError as error:
        raise LookupError(f"no number for {name}") from error


def test_a_traceback_and_those_before_it_have_no_values(lines: io.StringIO) -> None:
    log_failure("Hippar" + "chia")
    written = lines.getvalue()
    assert NAME not in written
    assert "failed on event 7" in written
    assert written.count("LookupError: no number for …") == 3
    assert "it cannot: UserProjector is being rebuilt" in written
    assert "ValueError: invalid literal for int() with base 10: '…'" in written
    assert 'raise LookupError(f"no number for {name}") from error' in written


def log_failure(name: str) -> None:
    try:
        fail(name)
    except LookupError as error:
        logging.getLogger("planted").exception("failed on event %s", 7)
        logging.getLogger("planted").warning("trying again: %s", error)
        logging.getLogger("planted").error(error)
        logging.getLogger("planted").error("it cannot: %s", AlreadyRunning("UserProjector is being rebuilt"))


def test_a_record_that_another_handler_has_written_already_is_written_anew(lines: io.StringIO) -> None:
    written = written_twice("Hippar" + "chia")
    assert NAME in written
    assert NAME not in lines.getvalue()


def written_twice(name: str) -> str:
    try:
        fail(name)
    except LookupError:
        record = logging.LogRecord("planted", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        written = logging.Formatter().format(record)
        logging.getLogger().handle(record)
    return written


RAISES = "int(sys.argv[1])"
IN_THREAD = "from threading import Thread; t = Thread(target=int, args=sys.argv[1:]); t.start(); t.join()"


@pytest.mark.parametrize("code", [RAISES, IN_THREAD], ids=["the process", "a thread"])
def test_what_ends_a_process_or_a_thread_is_printed_without_values(code: str) -> None:
    command = [sys.executable, "-c", f"import django, sys; django.setup(); {code}", NAME]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "ValueError: invalid literal for int() with base 10" in result.stderr
    assert NAME not in result.stderr
