# ruff: noqa: INP001 - a folder of programs, no package
"""A labelled prompt said more roughly, with the same labels: as people paste, hurry and ramble.

    hurried    lower case, no full stops, no accents, a letter wrong here and there
    framed     a long-winded word before it, another after it, in its language
    mailed     inside a forwarded mail or a chat
    beside     with log lines or a page's small print above or below it

What becomes of a prompt depends on its text and a number alone, so that training is the same each time. The words around it
are `training/surroundings.json`; the training whose figures are told sees one half of them, and is measured with the other.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from training.labelled import Labelled

SURROUNDINGS = Path(__file__).with_name("surroundings.json")

_LONG_STYLES = ("longwinded", "pasted", "other")
_LONGEST_TO_SURROUND = 400
_WRONG_LETTERS = 0.06
_STOPS = re.compile("[.,;:!?¿¡\u3001\u3002\uff0c\uff1b\uff1a\uff01\uff1f\u0964\u060c\u061f]+(?=\\s|$)")
_LEAST_LETTERS = 4

Chance = random.Random
Way = Callable[[Labelled, Chance, Callable[[Sequence[str]], Sequence[str]]], str]


def roughened(one: Labelled, number: int = 0, *, half: int | None = None) -> Labelled:
    """The prompt said roughly; another ``number``, another way.

    With ``half`` 0 or 1, the words around it are of only that half of the surroundings.
    """
    chance = random.Random(f"{number} {one.prompt}")  # noqa: S311 - no secret
    short = one.style not in _LONG_STYLES and len(one.prompt) <= _LONGEST_TO_SURROUND
    way = chance.choice((_hurried, _hurried, _framed, _framed, _mailed, _beside)) if short else _hurried

    def known(texts: Sequence[str]) -> Sequence[str]:
        return texts if half is None else texts[half::2]

    return replace(one, prompt=way(one, chance, known), style=f"rough {one.style}")


def _hurried(one: Labelled, chance: Chance, _: object) -> str:
    text = _STOPS.sub("", one.prompt) if "```" not in one.prompt else one.prompt
    text = _bare(text.lower()) if chance.random() < 0.7 else text  # noqa: PLR2004 - most who hurry
    return re.sub(r"[^\W\d_]{4,}", lambda word: _slipped(word[0], chance), text) or one.prompt


def _framed(one: Labelled, chance: Chance, known: Callable[[Sequence[str]], Sequence[str]]) -> str:
    words = _surroundings().get(one.language) or _surroundings()["en"]
    before, after = chance.choice(known(words["before"])), chance.choice(known(words["after"]))
    which = chance.randrange(3)
    between = chance.choice((" ", "\n", "\n\n"))
    return between.join([before] * (which != 1) + [one.prompt] + [after] * (which != 0))


def _mailed(one: Labelled, chance: Chance, known: Callable[[Sequence[str]], Sequence[str]]) -> str:
    heads, feet = (known(_surroundings()[part]) for part in ("mail_head", "mail_foot"))
    which = chance.randrange(3)
    return (chance.choice(heads) if which != 1 else "") + one.prompt + (chance.choice(feet) if which != 0 else "")


def _beside(one: Labelled, chance: Chance, known: Callable[[Sequence[str]], Sequence[str]]) -> str:
    noise = chance.choice(known(_surroundings()["noise"]))
    return f"{noise}\n\n{one.prompt}" if chance.random() < 0.5 else f"{one.prompt}\n\n{noise}"  # noqa: PLR2004 - a coin


def _bare(text: str) -> str:
    """Latin letters without their accents; other scripts as they are."""
    return "".join(_base(letter) if "LATIN" in unicodedata.name(letter, "") else letter for letter in text)


def _base(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[0]


def _slipped(word: str, chance: Chance) -> str:
    """The word, or seldom with two letters swapped, one left out, or one twice; in alphabets only."""
    if len(word) < _LEAST_LETTERS or chance.random() >= _WRONG_LETTERS * 2 or not _alphabetic(word):
        return word
    at = chance.randrange(1, len(word) - 2)
    return chance.choice((
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    ))  # fmt: skip


def _alphabetic(word: str) -> bool:
    return unicodedata.name(word[0], "").split(" ")[0] in ("LATIN", "CYRILLIC", "ARABIC")


@cache
def _surroundings() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(SURROUNDINGS.read_text("utf-8"))
    return read
