"""A prompt as numbers: which words it has (hashed), and what shape it is.

    Features.buckets, counts   words, pairs of neighbouring words, and the words of the question apart from those of its options
    Features.shape             `SHAPE`: lengths, numbers, mathematics, code, forms of question, what is asked for

The same text gives the same numbers on every machine and in every process: words are hashed with CRC-32. Chinese, Japanese and
Korean are read character by character, so that their pairs of neighbours say what words say elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log1p
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUCKETS = 1 << 15
_HEAD_CHARS = 3_000
_TAIL_CHARS = 1_000

_OPTION = re.compile(r"^[ \t]*\(?([A-J])[.)][ \t]*(.*)$", re.MULTILINE)
_ANSWER = re.compile(r"\n\s*answer\s*:?\s*$", re.IGNORECASE)
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s]")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NUMERIC_OPTION = re.compile(r"[\s$\d.,/%+\-−^(){}a-z]{0,12}")
_MANY_DIGITS = 4
_FEWEST_OPTIONS = 2

_COUNTED: dict[str, str] = {
    "sentences": r"[.!?](?:\s|$)",
    "lines": r"\n",
    "commas": r",",
    "digits": r"\d",
    "operators": r"[=+*/^<>≤≥√∑∫±×÷]",
    "latex": r"\\[a-z]+|\$[^$\n]{1,80}\$",
    "code": r"```|\bdef |\bclass |\breturn\b|\bimport |#include|\bselect\b.+\bfrom\b|;\n|\{\n|\(\)",
    "money": r"[$€£]\s?\d",
    "percent": r"%|\bper ?cent",
    "decimals": r"\d\.\d",
    "fractions": r"\b(?:half|halves|thirds?|quarters?|fifths?|tenths?|fractions?|\d+/\d+)\b",
    "number_words": r"\b(?:two|three|four|five|six|seven|eight|nine|ten|dozen|twice|double|triple|first|second)\b",
    "rates": r"\b(?:each|every|per)\b",
    "comparisons": r"\b(?:more|less|fewer|than|times|as many|as much)\b",
    "steps": r"\b(?:if|then|after|before|remaining|rest|left|total|altogether)\b",
    "units_of_time": r"\b(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?)\b",
    "quotes": r"[\"“”]",
    "blanks": r"_{2,}",
    "bullets": r"^\s*(?:[-*•]|\d+[.)])\s",
    "bars": r"\|",
}
_ASKED: dict[str, str] = {
    "what": r"\bwhat\b",
    "which": r"\bwhich\b",
    "who": r"\bwho(?:m|se)?\b",
    "when": r"\bwhen\b",
    "where": r"\bwhere\b",
    "why": r"\bwhy\b",
    "how": r"\bhow\b",
    "how_many": r"\bhow (?:many|much|long|far|old)\b",
    "negated": r"\b(?:not|except|never|false|incorrect|least)\b",
    "conditional": r"\b(?:if|suppose|assume|given|let)\b",
    "superlative": r"\b(?:best|most|likely|main|primary)\b",
    "statements": r"\bstatements?\b",
    "follows": r"\bfollowing\b",
    "solve": r"\b(?:solve|calculate|compute|evaluate|simplif\w+|find|determine|prove|derive|integral|equation|probability|"
    r"remainder|polynomial|triangle|matrix)\b",
    "program": r"\b(?:code|program\w*|function|algorithm|implement\w*|script|python|javascript|java|sql|html|css|regex|"
    r"bug|debug\w*|refactor\w*|compile\w*|api|array|string|class|loop|query|unit tests?|c\+\+|rust|golang|bash|docker)\b",
    "puzzle": r"\b(?:puzzle|riddle|deduce|infer|logic\w*|conclude|step by step|overtak\w+|tallest|shortest|older|younger|"
    r"to the (?:left|right) of|siblings?|brothers?|sisters?|knights?|liars?|paradox)\b",
    "compose": r"\b(?:write|compose|draft|craft|pen|rewrite|rephrase|proofread|edit)\b",
    "literary": r"\b(?:story|poem|essay|blog|post|letter|e-?mail|speech|song|lyrics|haiku|dialogue|scene|slogan|tweet|"
    r"paragraph|headline|description|article|novel|character|narrative|limerick|announcement)\b",
    "persona": r"\b(?:pretend|act as|imagine (?:you|your)|you are (?:a|an|the|now)|role ?-?play|embrace the role|"
    r"take on the|assume the role|in the (?:voice|style) of|persona)\b",
    "discuss": r"\b(?:explain|describe|discuss|compare|contrast|overview|analy[sz]e|impact|influence|history|culture|"
    r"significance|theory|philosoph\w+|econom\w+|society|importance|pros and cons|advantages|causes?)\b",
    "extract": r"\b(?:extract|json|csv|table|list|identify|categori[sz]e|classif\w+|rate|summari[sz]e|highlight|bullet "
    r"points|entities|return the|format)\b",
}
_COUNT = {name: re.compile(pattern, re.MULTILINE) for name, pattern in _COUNTED.items()}
_ASK = {name: re.compile(pattern) for name, pattern in _ASKED.items()}

_SIZES = (
    "characters",
    "question_characters",
    "words",
    "mean_word_length",
    "options",
    "option_characters",
    "longest_option",
    "uneven_options",
    "numeric_options",
    "numbers",
    "distinct_numbers",
    "largest_number",
    "capitalised_words",
    "not_ascii",
    "ends_as_question",
    "ends_open",
)
SHAPE: tuple[str, ...] = (*_SIZES, *_COUNT, *_ASK)
"""Names of the numbers in `Features.shape`, in order. Counts and lengths are log(1 + n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt taken apart: the question, and the options that it offers (none where it is an open one)."""

    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What is read of one prompt. ``counts`` is log(1 + how often), per bucket; ``choice`` where it offers options."""

    buckets: NDArray[np.int32]
    counts: NDArray[np.float32]
    shape: NDArray[np.float32]
    choice: bool


def question_of(prompt: str) -> Question:
    """Part a multiple-choice prompt (``A. …``, ``B) …`` on lines of their own) into question and options."""
    text = _ANSWER.sub("", prompt)
    marks = list(_OPTION.finditer(text))
    if len(marks) < _FEWEST_OPTIONS or marks[0][1] != "A":
        return Question(text=text.strip())
    return Question(text=text[: marks[0].start()].strip(), options=tuple(mark[2].strip() for mark in marks))


def features_of(prompt: str) -> Features:
    """Read one prompt: about 1 ms. Of a very long one the beginning and the end are read."""
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    question = question_of(_ends(prompt))
    counts = Counter(crc32(gram.encode("utf-8", "replace")) % BUCKETS for gram in _grams(question))
    return Features(
        buckets=np.fromiter(counts.keys(), np.int32, len(counts)),
        counts=np.log1p(np.fromiter(counts.values(), np.float32, len(counts))),
        shape=np.array([*_sizes(prompt, question), *_counts(question)], np.float32),
        choice=bool(question.options),
    )


def _ends(prompt: str) -> str:
    if len(prompt) <= _HEAD_CHARS + _TAIL_CHARS:
        return prompt
    return f"{prompt[:_HEAD_CHARS]}\n{prompt[-_TAIL_CHARS:]}"


def _grams(question: Question) -> Iterator[str]:
    for part, text in (("q", question.text), ("o", " ".join(question.options))):
        words = [_spelled(word) for word in _WORD.findall(text.lower())]
        yield from words
        yield from (f"{part} {word}" for word in words)
        yield from (f"{first} {second}" for first, second in pairwise(words))


def _spelled(word: str) -> str:
    """A number by how many digits it has; any other word as it is."""
    return "0" * min(len(word), _MANY_DIGITS) if word[0].isdigit() else word


def _sizes(prompt: str, question: Question) -> Iterator[float]:
    words, options = question.text.split(), question.options
    lengths = [len(option) for option in options] or [0]
    numbers = [float(number.replace(",", "")) for number in _NUMBER.findall(question.text)]
    yield from (log1p(len(prompt)), log1p(len(question.text)), log1p(len(words)))
    yield _mean([len(word) for word in words])
    yield from (float(len(options)), log1p(sum(lengths)), log1p(max(lengths)), log1p(max(lengths) - min(lengths)))
    yield _mean([bool(_NUMERIC_OPTION.fullmatch(option.lower())) for option in options])
    yield from (log1p(len(numbers)), log1p(len(set(numbers))), log1p(min(max(numbers, default=0), 1e12)))
    yield _mean([word[:1].isupper() for word in words])
    yield _mean([not character.isascii() for character in question.text])
    yield from (float(question.text.endswith(("?", "?"))), float(question.text.endswith((":", "_", ","))))


def _counts(question: Question) -> Iterator[float]:
    text = question.text.lower()
    yield from (log1p(sum(1 for _ in pattern.finditer(text))) for pattern in _COUNT.values())
    yield from (float(pattern.search(text) is not None) for pattern in _ASK.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
