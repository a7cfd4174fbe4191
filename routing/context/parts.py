"""A text cut at its natural borders into parts of so many tokens: chapters before paragraphs before lines before sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from routing.tokens import TokenCounter

_BORDERS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n(?=#{1,3} |\f)|\f",  # a heading, a new page
        r"\n[ \t]*\n",
        r"\n",
        "(?<=[.!?])[\"')\u201d]?\\s|[\u3002\uff01\uff1f]",
        r"\s",
    )
)
_LOOKED_BACK = 0.3
"""Of a part's length: how far back from its furthest end a better border is looked for."""

_SLACK = 0.97
_FEWEST_CHARS = 20


def parts_of(text: str, most_tokens: int, counter: TokenCounter) -> tuple[str, ...]:
    """Cut a text into parts of at most ``most_tokens``; put together again they are the text."""
    return tuple(_parts(text, most_tokens, counter))


def _parts(text: str, most_tokens: int, counter: TokenCounter) -> Iterator[str]:
    start = 0
    chars = max(_FEWEST_CHARS, int(_SLACK * most_tokens * len(text) / max(1, counter.count(text).tokens)))
    while start < len(text):
        end = _end(text, start, start + chars)
        while end - start > _FEWEST_CHARS and (over := counter.count(text[start:end]).tokens / most_tokens) > 1:
            end = _end(text, start, start + max(_FEWEST_CHARS, int(_SLACK * (end - start) / over)))
        yield text[start:end]
        start = end


def _end(text: str, start: int, furthest: int) -> int:
    """Where a part ends that begins at ``start``: after the last of the best borders before ``furthest``."""
    if furthest >= len(text):
        return len(text)
    nearest = furthest - int(_LOOKED_BACK * (furthest - start))
    for border in _BORDERS:
        if found := max((match.end() for match in border.finditer(text, nearest, furthest)), default=0):
            return found
    return furthest
