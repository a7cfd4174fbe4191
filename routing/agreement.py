"""How far two answers agree, from 0 to 1: cheap, the same on every day, and with no model asked.

1 is the same answer, read without regard to case, white space, and the full stop at its end, or as JSON without regard to its
layout. Where one of them is nothing but a number, it is the number that the other ends with, or not. Else it is the F1 of
their words and signs, as in SQuAD (arXiv 1606.05250): texts that say the same in other words are at about a half.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from decimal import Decimal

from routing.state.words import indexed

_MOST_CHARS = 100_000
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_SIGN = re.compile(r"[^\w\s]")


def agreement(first: str, second: str) -> float:
    """The agreement of two answers; of long ones, of their first 100,000 characters."""
    ours, theirs = _plain(first[:_MOST_CHARS]), _plain(second[:_MOST_CHARS])
    if ours == theirs or _same_json(ours, theirs):
        return 1.0
    if _NUMBER.fullmatch(ours) or _NUMBER.fullmatch(theirs):
        return float(_last_number(ours) == _last_number(theirs))
    return _f1(_pieces(ours), _pieces(theirs))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".! ")


def _same_json(first: str, second: str) -> bool:
    try:
        return bool(json.loads(first) == json.loads(second))
    except (ValueError, RecursionError):
        return False


def _last_number(text: str) -> Decimal | None:
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def _pieces(text: str) -> Counter[str]:
    return Counter([*indexed(text).split(), *_SIGN.findall(text)])


def _f1(ours: Counter[str], theirs: Counter[str]) -> float:
    """The harmonic mean of precision and recall, which is 2 × shared / all."""
    whole = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / whole if whole else 0.0
