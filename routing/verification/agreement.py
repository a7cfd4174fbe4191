"""Whether answers to one question say the same: what each of them comes down to, and how many must agree.

Only short results can be compared: a number, a label, yes or no, a few words, or JSON. Of an essay nothing is said. That
samples of a model agree makes its answer likely, and proves nothing (arXiv 2203.11171).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

_MOST_CHARS = 4_000
_LONGEST_RESULT = 80
_MOST_WORDS = 8
_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{([^{}]+)\}")
_STATED = re.compile(
    r"""
    (?:\b(?:final\ answer|answer|result|label|category|conclusion|respuesta|resultado|etiqueta|antwort|ergebnis|r[\u00e9e]ponse
      |resposta|risposta)\b(?:\ is|\ es|\ ist|\ est|\ \u00e9)?\s*[:=]?\s+
    |\b(?:therefore|thus|hence|so)\b[^\n]{0,60}?(?:=|\bis\b)\s*)
    (?P<result>[^\n]+)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(r"[-+]?[$\u20ac\u00a3]?\s?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_YES_OR_NO = {
    **dict.fromkeys(("yes", "true", "correct", "si", "s\u00ed", "oui", "ja", "sim"), "yes"),
    **dict.fromkeys(("no", "false", "incorrect", "non", "nein", "n\u00e3o"), "no"),
}
_OPENING = re.compile(rf"\W*({'|'.join(_YES_OR_NO)})(?=\s*(?:[,.;:!\n\u2014\u2013]|\Z))")
_ARTICLES = frozenset({"a", "an", "the", "el", "la", "los", "las", "un", "una", "der", "die", "das", "le", "les"})
_WORD = re.compile(r"\w+")


def result_of(answer: str) -> str | None:
    """What an answer comes down to, in a form that can be compared; ``None`` where that cannot be told."""
    text = unicodedata.normalize("NFKC", answer).replace("**", "").strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if text.startswith(("{", "[")):
        return _json(text)
    if opening := _OPENING.match(text.casefold()):
        return _YES_OR_NO[opening[1]]
    return _short(_conclusion(text[-_MOST_CHARS:]))


def most_common(results: Sequence[str | None]) -> tuple[str | None, int]:
    """The result that stands most often, the first of several, and how often; what could not be told agrees with nothing."""
    counted = Counter(result for result in results if result is not None)
    return counted.most_common(1)[0] if counted else (None, 0)


def quorum(samples: int) -> int:
    """How many of so many samples must agree: two thirds."""
    return -(-2 * samples // 3)


def _conclusion(text: str) -> str:
    """The part of an answer that says its result: what is named as it, else the last line."""
    if boxed := _BOXED.findall(text):
        return str(boxed[-1])
    stated = list(_STATED.finditer(text))
    lines = [line for line in text.splitlines() if line.strip()]
    return stated[-1]["result"] if stated else lines[-1] if lines else ""


def _short(text: str) -> str | None:
    text = text.replace("`", "").strip()
    if len(text) > _LONGEST_RESULT:
        return None
    if first := _YES_OR_NO.get(next(iter(_WORD.findall(text.casefold())), "")):
        return first
    numbers = _NUMBER.findall(text)
    if len(numbers) == 1:
        return _plain(numbers[0])
    words = [word for word in _WORD.findall(text.casefold()) if word not in _ARTICLES]
    return " ".join(words) if 0 < len(words) <= _MOST_WORDS else None


def _plain(number: str) -> str:
    return str(Fraction(re.sub(r"[^\d.eE+-]", "", number)))


def _json(text: str) -> str | None:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return None
