"""A document's bytes → its text, as Markdown where it has a form.

    HTML   an article through trafilatura; anything else (an index, a forum, a list) whole, through html-to-markdown
    PDF    the text of its pages, through pypdf
    JSON   indented
    text   as it is; XML and feeds too

Runs in `child.py`: the parsers see what strangers wrote, and may hang, crash or want all the memory there is.
"""

from __future__ import annotations

import codecs
import importlib
import io
import json
import re
import time
from collections.abc import Iterator
from typing import Any, cast

import charset_normalizer
import html_to_markdown
import pypdf
import trafilatura
from pypdf.errors import PyPdfError

from tools.fetching.hidden import Element, drop_hidden
from tools.fetching.untrusted import cleaned
from tools.fetching.values import Document, Kind, Unreadable

lxml_html: Any = importlib.import_module("lxml.html")
"""Without types: lxml has none. `Element` names what we use of its trees."""

MOST_CHARS = 1_000_000
"""Longest text that is kept of a document."""

_MOST_TITLE_CHARS = 300
_BOOK_CHARS = 300_000  # too long for trafilatura's patience: 2 s per million
_INDEX_SHARE = 0.4  # of the text is links, and there is little else: a list, whose links are what is wanted
_PROSE_CHARS = 1_000
_SHORT_CHARS = 200  # of an article are more likely a banner
_LEAST_SHARE = 0.15  # less of the page is not what it is about
_MOST_SHARE = 0.9  # more, and there was nothing to leave out; html-to-markdown keeps more of the form
_SAMPLE_BYTES = 50_000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_KNOWN_CODECS = re.compile(
    r"utf-(8|16|32)(-.+)?|ascii|iso8859-\d+|cp\d+|koi8-\w|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|mac-\w+|tis-620|hz"
)
_REALLY_CP1252 = frozenset({"ascii", "iso8859-1"})  # what browsers take them for: https://encoding.spec.whatwg.org/
_LINK_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_LINKED_SCHEMES = frozenset({"http", "https", "mailto"})
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)")
_PLAIN_MARKDOWN = html_to_markdown.ConversionOptions(skip_images=True, extract_metadata=False)


def read(body: bytes, kind: Kind, *, charset: str | None, url: str, seconds: float) -> Document:
    """Read a document; a long PDF as far as ``seconds`` allow.

    Raises:
        Unreadable: it is damaged, locked, or holds no text.

    """
    match kind:
        case "html":
            document = _html(_text(body, charset, _META_CHARSET), url)
        case "pdf":
            document = _pdf(body, time.monotonic() + seconds)
        case "json":
            document = Document(title=None, text=_indented(_text(body, charset)))
        case "text":
            document = Document(title=None, text=_text(body, charset))
    return _bounded(document)


def _bounded(document: Document) -> Document:
    text = cleaned(document.text[: MOST_CHARS + 1]).strip()
    title = " ".join(cleaned(document.title or "").split())[:_MOST_TITLE_CHARS]
    too_long = len(document.text) > MOST_CHARS
    return Document(title=title or None, text=text[:MOST_CHARS], truncated=document.truncated or too_long)


def _html(source: str, url: str) -> Document:
    page = _tree(source)
    if page is None:
        return Document(title=None, text="")
    title = next((element.text for element in page.iter("title") if element.text), None)
    drop_hidden(page)
    _mend_links(page, url)
    if article := _article(page, url):
        return Document(title=title, text=article)
    whole = html_to_markdown.convert(lxml_html.tostring(page, encoding="unicode"), _PLAIN_MARKDOWN).content
    return Document(title=title, text=whole or "")


def _article(page: Element, url: str) -> str | None:
    """What is left without menus, banners and footers; ``None`` for a page that is no article, and so is wanted whole."""
    visible = _weight(page.text_content())
    linked = sum(_weight(link.text_content()) for link in page.iter("a"))
    is_index = linked > visible * _INDEX_SHARE and visible - linked < _PROSE_CHARS
    if is_index or visible > _BOOK_CHARS:
        return None
    article = trafilatura.extract(
        cast("Any", page), url=url, output_format="markdown", include_links=True, include_comments=False, fast=True
    )
    kept = _weight(_LINK_TARGET.sub("]", article or ""))
    is_article = visible * _LEAST_SHARE <= kept <= visible * _MOST_SHARE and kept >= _SHORT_CHARS
    return article if is_article else None


def _weight(text: str) -> int:
    """How many characters it has, without blanks."""
    return sum(map(len, text.split()))


def _tree(source: str) -> Element | None:
    """The page as a tree; ``None`` where there is nothing to make one of."""
    parser = lxml_html.HTMLParser(encoding="utf-8")
    try:
        page: Element = lxml_html.document_fromstring(source.encode(errors="replace"), parser=parser)
    except lxml_html.etree.ParserError:
        return None
    return page


def _mend_links(page: Element, url: str) -> None:
    """Make links absolute; those that lead to no page (scripts, whole files in a link) lose their target."""
    page.make_links_absolute(url, resolve_base_href=True, handle_failures="discard")
    for link in page.iter("a"):
        scheme = _LINK_SCHEME.match(link.attrib.get("href", ""))
        if scheme and scheme[1].lower() not in _LINKED_SCHEMES:
            del link.attrib["href"]


def _pdf(body: bytes, deadline: float) -> Document:
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        pages = list(_pages(reader, deadline))
        title = reader.metadata.title if reader.metadata else None
        count = len(reader.pages)
    except (PyPdfError, RecursionError) as problem:
        raise Unreadable("the PDF is damaged or locked") from problem
    if len(pages) == count and not any(page.strip() for page in pages):
        raise Unreadable("the PDF holds no text; it may be a scan")
    return Document(title=title, text="\n\n".join(pages), truncated=len(pages) < count)


def _pages(reader: pypdf.PdfReader, deadline: float) -> Iterator[str]:
    length = 0
    for page in reader.pages:
        if time.monotonic() > deadline or length > MOST_CHARS:
            return
        text = page.extract_text()
        length += len(text)
        yield text


def _indented(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text  # cut off, or no JSON after all


def _text(body: bytes, declared: str | None, within: re.Pattern[bytes] | None = None) -> str:
    """The characters: by byte order mark, header, the document itself, or else by what they look like."""
    mark = next((codec for bom, codec in _BOMS if body.startswith(bom)), None)
    named = within.search(body[:4096]) if within else None
    for name in (mark, declared, named[1].decode("ascii", "replace") if named else None):
        if codec := _codec(name):
            return body.decode(codec, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        best = charset_normalizer.from_bytes(body[:_SAMPLE_BYTES]).best()
        return body.decode(best.encoding if best else "utf-8", "replace")


def _codec(name: str | None) -> str | None:
    """Python's codec of that name, if it is one of characters that the web uses."""
    try:
        codec = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    if codec in _REALLY_CP1252:
        return "cp1252"
    return codec if _KNOWN_CODECS.fullmatch(codec) else None
