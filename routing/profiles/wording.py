"""A message as features: its words and their parts, whom it speaks of, which keywords of which profile it holds.

Accents, capitals and drawn-out letters ("holaaa") do not count. Of a long prompt, only what is asked is read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from routing.analyzer.reading import read
from routing.analyzer.wording import fold

_READ_CHARS = 400
_SHORT_CHARS = 120
_TOKEN = re.compile(r"[^\W_]+|\?")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf]")
_DRAWN_OUT = re.compile(r"(.)\1{2,}")
_CONTRACTED = ((re.compile("n['\u2019]t\\b"), " not"), (re.compile(r"\bcannot\b"), "can not"))

_SPEAKS_OF: Mapping[str, frozenset[str]] = {
    # English and Spanish words that say whose matter it is: the speaker's, the listener's, or a thing at hand.
    key: frozenset(words.split())
    for key, words in {
        "me": "i my me mine we our us im ive yo mi mis me nos nuestro nuestra mio mia",
        "you": "you your yours u ya tu tus su sus ustedes usted te ti vosotros vuestro vuestra os",
        "it": "it this that these esto eso ese esta este lo la",
    }.items()
}

# What each kind of feature weighs in a message: found by cross-validation on the shipped examples.
_WORD, _PAIR, _STEM, _PART, _ENDING = 1.0, 0.7, 0.8, 0.35, 0.5
_ADDRESSED, _RARE, _KEYWORD, _LENGTH = 1.2, 0.8, 1.0, 0.5

_MOST_RARE = 4
_MOST_HITS = 2
_LONG_WORD = 5
_PART_CHARS = 4
_FEW_WORDS = 3
_MOST_WORDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Keywords:
    """Phrases by the stem or word that each begins with; ``*`` at the end of a word stands for any ending."""

    words: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
    stems: Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
    stem_lengths: tuple[int, ...]

    @classmethod
    def of(cls, phrases: Mapping[str, Iterable[str]]) -> Keywords:
        """The phrases of each profile, by its name."""
        whole: defaultdict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        stems: defaultdict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for name, entries in phrases.items():
            for entry in entries:
                parts = [f"{stem}*" if star else stem for stem, star in _phrase(entry)]
                if parts:
                    into, key = (stems, parts[0][:-1]) if parts[0].endswith("*") else (whole, parts[0])
                    into[key].append((name, tuple(parts[1:])))
        return cls(words=whole, stems=stems, stem_lengths=tuple(sorted({len(stem) for stem in stems})))

    def hits(self, words: Sequence[str]) -> tuple[dict[str, int], set[str]]:
        """How many of each profile's phrases stand in a message, and whose begin it."""
        found: dict[str, int] = {}
        opening: set[str] = set()
        for at, word in enumerate(words):
            for name, rest in self._starting_with(word):
                following = words[at + 1 : at + 1 + len(rest)]
                if len(following) == len(rest) and all(map(_same, rest, following)):
                    found[name] = found.get(name, 0) + 1
                    if not at:
                        opening.add(name)
        return found, opening

    def _starting_with(self, word: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield from self.words.get(word, ())
        for length in self.stem_lengths:
            if length > len(word):
                return
            yield from self.stems.get(word[:length], ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What turns a message into features: the keywords, and in how many examples each word stands."""

    keywords: Keywords
    examples_with: Mapping[str, int]

    def features(self, text: str, words: Sequence[str], *, seen: int = 0) -> dict[str, float]:
        """The features of a message of these words, at length 1. A word is rare where at most ``seen`` examples hold it."""
        found: defaultdict[str, float] = defaultdict(float)
        self._note_address(words, found, seen)
        _note_words(words, found)
        keywords, opening = self.keywords.hits(words)
        found.update({f"keywords of {name}": _KEYWORD * min(hits, _MOST_HITS) for name, hits in keywords.items()})
        found.update({f"begins with a keyword of {name}": _KEYWORD for name in opening})
        if _EMOJI.search(text):
            found["an emoji"] = _WORD
        found[f"{min(len(words), _MOST_WORDS) // _FEW_WORDS} words"] = _LENGTH
        length = sqrt(sum(weight * weight for weight in found.values()))
        return {feature: weight / length for feature, weight in found.items()}

    def _note_address(self, words: Sequence[str], found: defaultdict[str, float], seen: int) -> None:
        """Whose matter it is; a question of nobody's about rare words is one about the world."""
        spoken_of = [key for key, marks in _SPEAKS_OF.items() if not marks.isdisjoint(words)]
        found.update({f"speaks of {key}": _ADDRESSED for key in spoken_of})
        rare = sum(len(word) > _FEW_WORDS - 1 and self.examples_with.get(word, 0) <= seen for word in words)
        found["rare words"] = _RARE * min(rare, _MOST_RARE) / 2
        if not {"me", "you"} & set(spoken_of):
            found["speaks of nobody"] = _ADDRESSED
            found["rare words of nobody's"] = _RARE if rare else 0.0


def says_nothing(text: str, words: Sequence[str]) -> bool:
    """Whether a message of these words holds neither an emoji nor a word in Latin letters: the examples have no others."""
    return not any(word.isascii() and word.isalpha() for word in words) and not _EMOJI.search(text)


def words_of(text: str) -> list[str]:
    """The words of what a message asks, folded, and its question marks."""
    asked = text if len(text) <= _SHORT_CHARS and '"' not in text and ":" not in text else read(text).asked
    folded = _DRAWN_OUT.sub(r"\1", fold(asked[:_READ_CHARS]))
    for pattern, whole in _CONTRACTED:
        folded = pattern.sub(whole, folded)
    return _TOKEN.findall(folded)


def _phrase(entry: str) -> list[tuple[str, bool]]:
    return [(word, part.endswith("*")) for part in entry.split() for word in words_of(part.removesuffix("*"))]


def _same(expected: str, word: str) -> bool:
    return word.startswith(expected[:-1]) if expected.endswith("*") else word == expected


def _note_words(words: Sequence[str], found: defaultdict[str, float]) -> None:
    for word in words:
        found[word] += _WORD
        if len(word) >= _PART_CHARS:
            _note_parts(word, found)
    for first, second in pairwise(["^", *words, *(["$"] if len(words) <= _FEW_WORDS else [])]):
        found[f"{first} {second}"] += _PAIR


def _note_parts(word: str, found: defaultdict[str, float]) -> None:
    """What a word shares with its inflections and its misspellings."""
    found[f"{word[: _LONG_WORD if len(word) > _LONG_WORD else _PART_CHARS]}*"] += _STEM
    for size in (2, 3):
        if len(word) >= _LONG_WORD:
            found[f"*{word[-size:]}"] += _ENDING * size / 3
    framed = f"_{word}_"
    for at in range(len(framed) - _PART_CHARS + 1):
        found[f"#{framed[at : at + _PART_CHARS]}"] += _PART
