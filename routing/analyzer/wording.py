"""Finding the lexicon's words in a text: one pass over the words, whatever the size of the lexicon."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from routing.analyzer.lexicon import COURTESIES, CUES, GREETINGS, GREETINGS_ELSEWHERE, Cue

_ACCENTS = re.compile("[\u0300-\u036f]")
_TOKEN = re.compile("[a-z0-9\u00df-\u024f\u0370-\u052f]+(?:\\+\\+|#)?|[.?!:;,\n]")
_STOPS = frozenset(".?!:;\n")
_JOINTS = frozenset((",", "and", "then", "y", "luego", "et", "puis", "und", "dann", "e", "depois", "poi", "и", "затем"))
_BEYOND_CYRILLIC = "\u0530"
_LONGEST_GREETING = 6
_LONGEST_GREETING_CHARS = 60


class Place(IntEnum):
    """Where in its sentence a phrase stands; courtesies before it do not count."""

    INSIDE = 0
    OPENS_CLAUSE = 1
    OPENS_SENTENCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phrase:
    """One entry: the cue that it belongs to, and the words that must follow its first one, ``exact`` where none is a stem."""

    cue: Cue
    entry: str
    rest: tuple[str, ...]
    exact: bool

    def continues(self, words: tuple[str, ...], at: int) -> bool:
        """Whether the words from this place on are those of the phrase after its first one."""
        following = words[at : at + len(self.rest)]
        if self.exact:
            return following == self.rest
        return len(following) == len(self.rest) and all(map(_same, self.rest, following))


@dataclass(slots=True, kw_only=True)
class Found:
    """The entries of one cue that a text holds, in order, and the best place where one stands."""

    cue: Cue
    entries: dict[str, None] = field(default_factory=dict[str, None])
    place: Place = Place.INSIDE


class Index:
    """The lexicon, ordered for looking words up."""

    def __init__(self, cues: Iterable[Cue]) -> None:
        self._words: defaultdict[str, list[_Phrase]] = defaultdict(list)
        self._stems: defaultdict[str, list[_Phrase]] = defaultdict(list)
        self._anywhere: list[tuple[str, Cue]] = []
        for cue in cues:
            for entry in cue.entries:
                self._add(cue, entry)
        self._stem_lengths = sorted({len(stem) for stem in self._stems})

    def find(self, text: str) -> dict[str, Found]:
        """The cues that a text holds, by label."""
        found: dict[str, Found] = {}
        if not text:
            return found
        folded = fold(text)
        for phrase, place in self._phrases_in(tuple(_TOKEN.findall(folded))):
            _note(found, phrase.cue, phrase.entry, place)
        if not folded.isascii():
            for entry, cue in self._anywhere:
                if entry in folded:
                    _note(found, cue, entry, Place.OPENS_SENTENCE)
        return found

    def _add(self, cue: Cue, entry: str) -> None:
        if max(entry) >= _BEYOND_CYRILLIC:
            self._anywhere.append((fold(entry), cue))
            return
        first, *rest = fold(entry).split()
        phrase = _Phrase(cue=cue, entry=entry, rest=tuple(rest), exact=not any(word.endswith("*") for word in rest))
        if first.endswith("*"):
            self._stems[first[:-1]].append(phrase)
        else:
            self._words[first].append(phrase)

    def _phrases_in(self, words: tuple[str, ...]) -> Iterator[tuple[_Phrase, Place]]:
        place = Place.OPENS_SENTENCE
        for at, word in enumerate(words):
            if word in _STOPS:
                place = Place.OPENS_SENTENCE
                continue
            for phrase in self._starting_with(word):
                if phrase.continues(words, at + 1):
                    yield phrase, place
            if word in _JOINTS:
                place = max(place, Place.OPENS_CLAUSE)
            elif word not in COURTESIES:
                place = Place.INSIDE

    def _starting_with(self, word: str) -> Iterator[_Phrase]:
        yield from self._words.get(word, ())
        for length in self._stem_lengths:
            if length > len(word):
                return
            yield from self._stems.get(word[:length], ())


def fold(text: str) -> str:
    """Lower case, without the accents of Latin letters; other scripts keep their marks."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFKC", _ACCENTS.sub("", decomposed))


def is_greeting(text: str) -> bool:
    """Whether a text is nothing but a greeting or thanks."""
    if len(text) > _LONGEST_GREETING_CHARS:
        return False
    folded = fold(text)
    if not text.isascii():
        for greeting in _GREETINGS_ELSEWHERE:
            if folded.startswith(greeting) and len(folded) <= len(greeting) + _LONGEST_GREETING:
                return True
    words = [word for word in _TOKEN.findall(folded) if word[0].isalnum()]
    return 0 < len(words) <= _LONGEST_GREETING and GREETINGS.issuperset(words)


def _same(expected: str, word: str) -> bool:
    return word.startswith(expected[:-1]) if expected.endswith("*") else word == expected


def _note(found: dict[str, Found], cue: Cue, entry: str, place: Place) -> None:
    here = found.setdefault(cue.label, Found(cue=cue))
    here.entries[entry] = None
    here.place = max(here.place, place)


_GREETINGS_ELSEWHERE = tuple(map(fold, GREETINGS_ELSEWHERE))
"""None of them in ASCII."""

LEXICON = Index(CUES)
