"""The words of a text, so that an index which splits at spaces finds them in every script.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces, and Korean hangs its particles on: what is written
in them is kept as single characters and as pairs of neighbours, as search engines do that have no dictionary.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

MOST_TERMS = 16
_QUERY_CHARS = 2_000

_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # Korean
    "]+"
)


def indexed(text: str) -> str:
    """The text as the index is to read it: 寿司屋 is 寿 寿司 司 司屋 屋.

    What SQLite's text cannot hold (NUL, lone surrogates) is no part of a word, and left out.
    """
    return _UNSPACED.sub(lambda run: f" {_with_pairs(run[0])} ", _words_only(text))


def terms(query: str) -> tuple[str, ...]:
    """The different words of a query, `MOST_TERMS` at most: 寿司屋 is 寿司 and 司屋, and 寿 alone is itself."""
    text = _UNSPACED.sub(lambda run: f" {_pairs(run[0])} ", _words_only(query[:_QUERY_CHARS]))
    return tuple(dict.fromkeys(text.lower().split()))[:MOST_TERMS]


def folded(text: str) -> str:
    """The text in lower case, Latin letters without their marks, as SQLite's tokenizer has it: Käse is kase."""
    return "".join(_without_marks(letter) for letter in text.lower())


def _without_marks(letter: str) -> str:
    plain = letter if letter.isascii() else unicodedata.normalize("NFD", letter)[0]
    return plain if plain.isascii() else "" if "\u0300" <= letter <= "\u0331" else letter


def _words_only(text: str) -> str:
    """Everything that is neither letter, number nor mark becomes a space."""
    return "".join(character if _is_of_a_word(character) else " " for character in text)


def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc", "Co")


def _with_pairs(run: str) -> str:
    joined = [part for left, right in pairwise(run) for part in (left, left + right)]
    return " ".join([*joined, run[-1]])


def _pairs(run: str) -> str:
    return " ".join(left + right for left, right in pairwise(run)) or run
