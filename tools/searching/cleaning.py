"""From what an engine sends to what a model may read: plain bounded text, addresses of web pages, no page twice."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from urllib.parse import urlsplit

from tools.fetching.untrusted import cleaned
from tools.searching.results import Found

_LONGEST_TITLE, _LONGEST_SNIPPET, _LONGEST_NAME, _LONGEST_ADDRESS = 200, 1_000, 100, 2_000
_MARKUP = re.compile(
    r"</?(?:a|abbr|b|big|br|cite|code|del|div|em|font|h[1-6]|hr|i|img|ins|kbd|li|mark|ol|p|pre|q|s|samp|script|small|span|strike"
    r"|strong|style|sub|sup|td|th|time|tr|tt|u|ul|var|wbr)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
"""Elements that engines put into snippets. Only these: ``List<String>`` is text."""


def presentable(pages: Iterable[Found], count: int) -> tuple[Found, ...]:
    """The first ``count`` pages that have a web address, each once, with their texts cleaned."""
    kept: dict[str, Found] = {}
    for page in pages:
        if is_web_address(page.url):
            kept.setdefault(page.url.partition("#")[0].rstrip("/"), page)
    return tuple(_cleaned_page(page) for page in list(kept.values())[:count])


def is_web_address(url: str) -> bool:
    """Whether it is a complete http or https address without blanks, control or invisible characters."""
    if len(url) > _LONGEST_ADDRESS or not url.isprintable() or " " in url or cleaned(url) != url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def plain(text: str, longest: int) -> str:
    """One line without markup, entities or invisible characters, cut at a word where it is longer."""
    words = " ".join(cleaned(unescape(_MARKUP.sub("", text))).split())
    return words if len(words) <= longest else f"{shortened(words, characters=longest - 1)}…"


def shortened(query: str, *, characters: int, words: int | None = None) -> str:
    """As much of it as fits these limits, cut at a word where there is one."""
    text = " ".join(query.split()[:words])
    if len(text) <= characters:
        return text
    return text[: characters + 1].rpartition(" ")[0] or text[:characters]


def host_of(url: str) -> str | None:
    """The name of a page's site: its host without ``www.``."""
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.") or None
    except ValueError:
        return None


def _cleaned_page(page: Found) -> Found:
    return replace(
        page,
        title=plain(page.title, _LONGEST_TITLE),
        snippet=plain(page.snippet, _LONGEST_SNIPPET),
        age=plain(page.age or "", _LONGEST_NAME) or None,
        source=plain(page.source or "", _LONGEST_NAME) or None,
    )


def notices_of_cut(engine: str, query: str, asked: str) -> tuple[str, ...]:
    """What the caller should know where an engine was asked less than the query."""
    if asked == query:
        return ()
    return (f"{engine} takes shorter queries: it was asked the first {len(asked)} characters only",)
