"""What a page holds and its reader does not see: the favourite place of instructions meant for a model.

Known are the ``hidden`` attribute, ``aria-hidden``, comments, inline styles, and rules of the page's own ``<style>`` for one
class, id or element each. What linked style sheets or scripts would hide is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

UNREAD_TAGS = frozenset(
    {
        "script",
        "style",
        "template",
        "img",
        "picture",
        "svg",
        "canvas",
        "iframe",
        "frame",
        "object",
        "embed",
        "audio",
        "video",
    }
)
"""Elements without text of their own; a picture's address can carry off what a model knows, and so is not repeated."""

_NEVER_DROPPED = frozenset({"html", "head", "body"})  # hidden until a script has run, on honest pages
_INVISIBLE = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|opacity:0*\.?0*(?:;|$)|font-size:0*\.?0*(?:[a-z%]+)?(?:;|$)"
    r"|transform:scale\(0\)|clip:rect\((?:0|1)(?:px)?,|clip-path:inset\((?:50|100)%"
    r"|(?:left|right|top|bottom|text-indent|margin-left|margin-top):-\d{3,}(?:px|em|rem|vw|%))"
)
_NO_ROOM = re.compile(r"(?:^|;)(?:max-)?(?:width|height):[01](?:px)?(?:;|$)")
_COLOUR = re.compile(r"(?:^|;)color:([^;]+)")
_BACKGROUND = re.compile(r"(?:^|;)background(?:-color)?:([^;]+)")
_COLOUR_NAMES = {
    **dict.fromkeys(("white", "#fff", "rgb(255,255,255)", "rgba(255,255,255,1)"), "#ffffff"),
    **dict.fromkeys(("black", "#000", "rgb(0,0,0)", "rgba(0,0,0,1)"), "#000000"),
}
_NOTHING = frozenset({"transparent", "rgba(0,0,0,0)", "rgba(255,255,255,0)"})
_CSS_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_SIMPLE_SELECTOR = re.compile(r"[.#]?[A-Za-z_][\w-]*")


class Element(Protocol):
    """The part of lxml's elements that is used here; lxml has no types of its own."""

    tag: object
    text: str | None
    attrib: dict[str, str]

    def iter(self, *tags: str) -> Iterator[Element]: ...
    def drop_tree(self) -> None: ...
    def text_content(self) -> str: ...
    def make_links_absolute(self, base_url: str, *, resolve_base_href: bool, handle_failures: str) -> None: ...


def drop_hidden(page: Element) -> None:
    """Remove from an HTML tree what nobody reads."""
    selectors = hidden_selectors("\n".join(style.text or "" for style in page.iter("style")))
    for element in list(page.iter()):
        if not isinstance(element.tag, str) or element.tag in UNREAD_TAGS or _is_hidden(element, selectors):
            _drop(element)


def hidden_selectors(css: str) -> frozenset[str]:
    """The classes, ids and elements that a style sheet hides outside ``@media``: ``.note``, ``#more``, ``aside``."""
    return frozenset(
        selector.strip()
        for selectors, declarations in _top_level_rules(_CSS_COMMENT.sub("", css))
        if is_invisible(declarations)
        for selector in selectors.split(",")
        if _SIMPLE_SELECTOR.fullmatch(selector.strip())
    )


def is_invisible(style: str) -> bool:
    """Tell whether these CSS declarations hide an element."""
    squeezed = re.sub(r"\s+|!important", "", style).lower()
    if _INVISIBLE.search(squeezed):
        return True
    if "overflow:hidden" in squeezed and _NO_ROOM.search(squeezed):
        return True
    return _melts_away(squeezed)


def _melts_away(style: str) -> bool:
    """Tell whether text has the colour of what is behind it; a page is white where nothing else is said."""
    if (colour := _COLOUR.search(style)) is None:
        return False
    behind = _BACKGROUND.search(style)
    ink, paper = _plain_colour(colour[1]), _plain_colour(behind[1] if behind else "white")
    return ink in _NOTHING or ink == paper


def _plain_colour(colour: str) -> str:
    return _COLOUR_NAMES.get(colour, colour)


def _is_hidden(element: Element, selectors: frozenset[str]) -> bool:
    attributes = element.attrib
    if "hidden" in attributes or attributes.get("aria-hidden", "").strip().lower() == "true":
        return True
    if selectors and not selectors.isdisjoint(_selectors_of(element)):
        return True
    return is_invisible(attributes.get("style", "")) if "style" in attributes else False


def _selectors_of(element: Element) -> Iterable[str]:
    classes = element.attrib.get("class", "").split()
    yield str(element.tag)
    yield from (f".{name}" for name in classes)
    yield f"#{element.attrib.get('id', '')}"


def _drop(element: Element) -> None:
    if element.tag not in _NEVER_DROPPED:
        element.drop_tree()


def _top_level_rules(css: str) -> Iterator[tuple[str, str]]:
    """Selectors and declarations of the rules that stand in no block of others."""
    depth, begun, selectors = 0, 0, ""
    for at, char in enumerate(css):
        if char == "{":
            if depth == 0:
                selectors, begun = css[begun:at], at + 1
            depth += 1
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                if not selectors.lstrip().startswith("@"):
                    yield selectors, css[begun:at]
                begun = at + 1
