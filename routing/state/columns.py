"""Values in the form in which a database's columns keep them; `restored` is what they were.

Databases store UTF-8, which has no lone surrogates; PostgreSQL refuses NUL in text, and SQLite's functions stop at it. JSON can
escape both, so documents are JSON and plain text is the inside of a JSON string, which for text without quotes and backslashes
is the text itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["json_text", "restored", "stored"]


def _by_field(value: object) -> dict[str, object]:
    if not is_dataclass(value):
        raise TypeError(f"JSON has no {type(value).__name__}")
    return {part.name: getattr(value, part.name) for part in fields(value)}


_AS_WRITTEN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_by_field)
_IN_ASCII = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_by_field)
_stays_as_it_is = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*').fullmatch


def json_text(value: object) -> str:
    """The value, dataclasses by their fields, as a JSON document that a column can keep.

    Raises:
        TypeError, ValueError: JSON has no such value.

    """
    text = _AS_WRITTEN.encode(value)
    return text if _is_utf8(text) else _IN_ASCII.encode(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def stored(value: object) -> Any:
    """The value as a column keeps it, and as a condition on that column names it. Different texts stay different."""
    return json_text(value)[1:-1] if isinstance(value, str) and not _stays_as_it_is(value) else value


def restored(value: Any) -> Any:
    """What `stored` was given."""
    return json.loads(f'"{value}"') if isinstance(value, str) and "\\" in value else value
