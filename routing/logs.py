"""The log, on stderr: lines for people, or one JSON object a line for programs.

Stdout belongs to JSON-RPC. An object carries ``time`` (UTC), ``level``, ``logger`` and ``message``, ``exception`` where there
was one, and ``trace_id`` and ``span_id``, as W3C Trace Context writes them, where the line was written inside a span.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from opentelemetry import trace

LogFormat = Literal["text", "json"]
_TELL_WHOLE_MESSAGES = ("mcp", "sse_starlette")
"""Loggers of libraries that at DEBUG write what goes over the wire, prompts and answers too."""

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever stands in the message."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_where(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Write everything of ``level`` and above to ``stream``, by default stderr, and nowhere else; warnings too.

    No prompt is written at any level: loggers that would tell it stay at INFO. By then the MCP SDK has given the root logger a
    handler that wraps lines at the width of a terminal, which hosts have not.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in _TELL_WHOLE_MESSAGES:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))


def announce(log_format: LogFormat, message: str) -> None:
    """Tell whoever started the server something, whatever the level of the log: among objects, as one of them."""
    if log_format == "text":
        sys.stderr.write(f"pointsman: {message}\n")
        return
    record = logging.LogRecord("pointsman", logging.INFO, "", 0, message, None, None)
    sys.stderr.write(JsonLines().format(record) + "\n")


def _where() -> dict[str, str]:
    """The span that a line is written in; nothing outside of one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
