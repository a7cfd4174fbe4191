"""The log on stderr: one line a record, whatever stands in it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from routing.logs import JsonLines, announce, set_up

log = logging.getLogger("pointsman.test")


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_object_with_time_level_logger_and_message() -> None:
    stream = io.StringIO()
    set_up("json", "INFO", stream)

    log.info("route %s took %d ms", "rte_1", 12)

    [line] = lines(stream)
    assert line.keys() == {"time", "level", "logger", "message"}
    assert (line["level"], line["logger"]) == ("INFO", "pointsman.test")
    assert line["message"] == "route rte_1 took 12 ms"
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


@given(st.text())
def test_any_message_stays_on_its_line(message: str) -> None:
    record = logging.LogRecord("pointsman", logging.ERROR, "", 0, "%s", (message,), None)

    line = JsonLines().format(record)

    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message


def test_an_exception_comes_with_its_traceback() -> None:
    stream = io.StringIO()
    set_up("json", "INFO", stream)

    try:
        int("torn")
    except ValueError:
        log.exception("it failed")

    [line] = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("'torn'")


def test_a_line_written_inside_a_span_names_it() -> None:
    stream = io.StringIO()
    set_up("json", "INFO", stream)
    context = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False)

    with trace.use_span(trace.NonRecordingSpan(context)):
        log.info("inside")
    log.info("outside")

    inside, outside = lines(stream)
    assert inside["trace_id"] == f"{0xABC:032x}"
    assert inside["span_id"] == f"{0xDEF:016x}"
    assert "trace_id" not in outside


def test_lines_for_people_are_plain_and_unwrapped() -> None:
    stream = io.StringIO()
    set_up("text", "INFO", stream)

    log.info("x" * 300)

    assert stream.getvalue().endswith("INFO pointsman.test: " + "x" * 300 + "\n")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    set_up("json", "WARNING", stream)

    log.info("quiet")
    log.warning("loud")

    assert [line["message"] for line in lines(stream)] == ["loud"]


def test_whoever_wrote_before_writes_no_more_and_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    earlier, stream = io.StringIO(), io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(earlier))
    set_up("json", "INFO", stream)

    log.warning("once")

    assert len(lines(stream)) == 1
    assert not earlier.getvalue()
    assert not capsys.readouterr().out


def test_what_is_announced_is_a_line_for_people_or_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    announce("text", "serving at 100%")
    announce("json", "serving at 100%")

    for_people, for_programs = capsys.readouterr().err.splitlines()
    assert for_people == "pointsman: serving at 100%"
    assert json.loads(for_programs)["message"] == "serving at 100%"


def test_a_warning_is_a_line_of_the_log() -> None:
    stream = io.StringIO()
    set_up("json", "WARNING", stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    [line] = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old" in line["message"]
