"""The values that flow through this room. Standard library only: the process that reads documents has them too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

Kind = Literal["html", "pdf", "json", "text"]
"""How a document is read."""


class Order(TypedDict):
    """What the process is told about the ``length`` bytes that follow; after ``seconds`` nobody waits any more."""

    kind: Kind
    charset: str | None
    url: str
    length: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document's text, cleaned, and Markdown where it has a form. ``truncated``: the document goes on."""

    title: str | None
    text: str
    truncated: bool = False


class Unreadable(Exception):  # noqa: N818 - named for what happened; `reading.py` makes a ToolFailed of it
    """A document is damaged, locked, or holds no text; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document, and ``url``: where it was found after redirects."""

    url: str
    title: str | None
    text: str
    content_type: str
    truncated: bool
