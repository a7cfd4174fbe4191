"""The quotations of an answer, looked up in the text that was supplied."""

from __future__ import annotations

import re
import unicodedata

from routing.types import Finding
from routing.verification.work import Work

_FEWEST_WORDS = 4
"""A shorter quotation may be a word that is talked about, as may one of under 25 characters."""

_FEWEST_GIVEN_CHARS = 200
_QUOTED = re.compile(
    r"\"([^\"\n]{25,600})\"|\u201c([^\u201d\n]{25,600})\u201d|\u00ab([^\u00bb\n]{25,600})\u00bb|^>[ \t]*(\S.{24,600})$",
    re.MULTILINE,
)
_LEFT_OUT = re.compile(r"\s*(?:\[?\s*(?:\.\.\.|\u2026)\s*\]?|\[[^\]]{0,40}\])\s*")
_NO_LETTER = re.compile(r"[\W_]+")
_MOST_QUOTATIONS = 50


def quotes_truly(work: Work) -> Finding | None:
    """What stands in quotation marks stands in the supplied text, but for spelling of quotes, space, case and omissions."""
    if len(work.given) < _FEWEST_GIVEN_CHARS:
        return None
    quoted = ["".join(match.groups(default="")) for match in _QUOTED.finditer(work.answer)][:_MOST_QUOTATIONS]
    sentences = [text for text in quoted if len(text.split()) >= _FEWEST_WORDS]
    if not sentences:
        return None
    source = _letters(work.given)
    made_up = [text for text in sentences if not _stands_in(text, source)]
    shown = "; ".join(f"\u201c{text[:80]}\u201d" for text in made_up[:3])
    detail = (
        f"not in the supplied text: {shown}" if made_up else f"{len(sentences)} quotations stand in the supplied text"
    )
    return Finding(check="quotations", passed=not made_up, detail=detail)


def _stands_in(quotation: str, source: str) -> bool:
    """Whether all its parts, between omissions, stand in the source in their order."""
    place = 0
    for part in filter(None, map(_letters, _LEFT_OUT.split(quotation))):
        found = source.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text).casefold())
