"""Content-Type: what a document says it is, and how that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message

from tools.fetching.values import Kind

_UNSAID = "application/octet-stream"
_SAYS_NOTHING = frozenset({_UNSAID, "binary/octet-stream", "application/x-download"})
_KINDS: Mapping[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    "application/json": "json",
    "text/json": "json",
    "application/xml": "text",
    "application/javascript": "text",
    "application/sql": "text",
    "application/toml": "text",
    "application/x-ndjson": "text",
    "application/x-yaml": "text",
    "application/yaml": "text",
}
_SUFFIXES: Mapping[str, Kind] = {"json": "json", "xml": "text", "yaml": "text"}
_SUFFIXED = frozenset({"application", "message", "model", "text"})  # and not image/svg+xml
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,80}\s*(;|$)", re.ASCII)
_SNIFFED_BYTES = 1024
_BINARY = frozenset({*range(9), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})


def content_type_of(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """The media type and the charset of a response; `application/octet-stream` where it does not say."""
    said = headers.get("content-type", "").strip()
    header = Message()
    header["content-type"] = said if _MEDIA_TYPE.match(said) else _UNSAID
    return header.get_content_type(), header.get_content_charset()


def kind_of(media_type: str, body: bytes = b"") -> Kind | None:
    """How a document is read; ``None`` where it is not. A type that says nothing is told from its first bytes."""
    if media_type in _SAYS_NOTHING:
        return _sniffed(body[:_SNIFFED_BYTES].lstrip())
    main = media_type.partition("/")[0]
    if media_type in _KINDS or main not in _SUFFIXED:
        return _KINDS.get(media_type)
    suffix = _SUFFIXES.get(media_type.rpartition("+")[2])
    return suffix or ("text" if main == "text" else None)


def _sniffed(start: bytes) -> Kind | None:
    """See https://mimesniff.spec.whatwg.org/."""
    if start.startswith(b"%PDF-"):
        return "pdf"
    if start.lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return None if _BINARY.intersection(start) else "text"
