# ruff: noqa: INP001 - a folder of programs, no package
"""Choose the pieces of the large encoder's vocabulary that the small one keeps → `training/vocabulary.txt`, one id a line.

    python training/choose_vocabulary.py --base FILE [--pieces 26000]     # needs wordfreq: an environment of its own

A piece counts by how often it occurs in the commonest 20,000 words of eleven languages (wordfreq's lists, by their frequency)
and in our prompts, without those that the figures are of. Single ASCII characters always stay, so that code and typos can be
spelt out, and so do the characters of those words: else a Chinese word that is rare would be unknown as a whole.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections import Counter, defaultdict
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.embedded.embedder_engine import _tokenizer_of  # noqa: E402  # pyright: ignore[reportPrivateUsage]
from routing.embedded.embedder_file import ModelFile, read_model  # noqa: E402
from training.labelled import Labelled, is_left_out, read_prompts  # noqa: E402

LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "zh", "ja", "hi", "ar", "ru")
_WORDS = 20_000
_LEAST_OFTEN = 2
"""A piece that stands once in all prompts is chance, and so is a letter of one word."""

_SPECIAL = 4


def chosen(source: ModelFile, pieces: int) -> list[int]:
    """The ids of the pieces, in order."""
    tokenizer, weights = _tokenizer_of(source), defaultdict[int, float](float)
    words, prompts = _words(), {one.prompt: 1.0 for one in _shown()}
    for texts, least in ((words, 0), (prompts, _LEAST_OFTEN)):
        normal = [text.translate(source.replacements) for text in texts]
        counts = defaultdict[int, float](float)
        for encoding, weight in zip(tokenizer.encode_batch(normal), texts.values(), strict=True):
            for piece in encoding.ids:
                counts[piece] += weight
        total = sum(counts.values())
        for piece, count in counts.items():
            weights[piece] += count / total if count >= least else 0
    often = Counter(letter for word in words for letter in {*word, *word.upper()})
    letters = {letter for letter, words_with in often.items() if words_with >= _LEAST_OFTEN}
    first = [*range(_SPECIAL), *(at for at, (piece, _) in enumerate(source.pieces) if _is_character(piece, letters))]
    return sorted(list(dict.fromkeys([*first, *sorted(weights, key=weights.__getitem__, reverse=True)]))[:pieces])


def _words() -> dict[str, float]:
    wordfreq: Any = importlib.import_module("wordfreq")
    found: dict[str, float] = {}
    for language in LANGUAGES:
        frequencies = wordfreq.get_frequency_dict(language)
        for word in wordfreq.top_n_list(language, _WORDS):
            found[word] = found.get(word, 0.0) + frequencies.get(word, 0.0)
    return found


def _shown() -> list[Labelled]:
    """The prompts that the weights whose figures are told may see."""
    prompts = read_prompts((ROOT / "training" / "prompts").glob("*.jsonl"))
    return [one for one in prompts if not is_left_out(one)]


def _is_character(piece: str, letters: AbstractSet[str]) -> bool:
    """Whether the piece is one ASCII character, alone or behind a space, or one of the ``letters``."""
    bare = piece.strip("\u2581")
    return piece in letters or (len(bare) <= 1 and bare.isascii())


def main() -> None:
    """Choose, and write the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=26_000)
    given = parser.parse_args()
    ids = chosen(read_model(given.base), given.pieces)
    (ROOT / "training" / "vocabulary.txt").write_text("".join(f"{one}\n" for one in ids), "utf-8")


if __name__ == "__main__":
    main()
