# ruff: noqa: INP001 - a folder of programs, no package
"""A prompt as somebody in a hurry would type it, or a hurried one as somebody careful would: the task stays the same.

Without these second versions, which are used in some of the rounds, lower case and missing marks cost ten points of accuracy.
"""

from __future__ import annotations

import random
import re

from routing.analyzer.wording import fold

_MARKS = re.compile(r"[!?¿¡…;:«»„“”‘’。、,!?؟،।]|[.,](?!\d)")
_WORD = re.compile(r"[^\W\d_]{4,}")
_LETTERS_SWAPPED = 0.08


def roughened(prompt: str) -> str:
    """Another version of the prompt, the same each time."""
    chance = random.Random(prompt)  # noqa: S311 - no secret
    if _is_rough(prompt):
        return f"{prompt[:1].upper()}{prompt[1:].rstrip()}."
    kind = chance.randrange(4)
    if kind == 0:
        return f"{prompt[:1].lower()}{prompt[1:]}".rstrip(" .!?。।")
    text = _MARKS.sub(" ", prompt.lower() if kind == 1 else fold(prompt))
    if kind == 3:  # noqa: PLR2004 - the last of four
        text = _WORD.sub(lambda word: _misspelt(word[0], chance), text)
    return re.sub(r" {2,}", " ", text).strip() or prompt


def _is_rough(prompt: str) -> bool:
    return prompt == prompt.lower() != prompt.upper() and not prompt.rstrip().endswith((".", "!", "?"))


def _misspelt(word: str, chance: random.Random) -> str:
    if chance.random() >= _LETTERS_SWAPPED:
        return word
    at = chance.randrange(1, len(word) - 1)
    return f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"
