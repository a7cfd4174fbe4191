# ruff: noqa: INP001 - a folder of programs, no package
"""Labelled prompts: JSON lines in `training/prompts/`, a language a file (``en-3.jsonl``, ``de.jsonl``, ``more-de.jsonl``).

    {"prompt", "category", "complexity": 1-5, "tools": bool, "output": "short"|"medium"|"long", "style", "group"?}

`training/held_out/` has the same form: prompts whose author had seen none of the others. They only ever measure.

Prompts of one ``group`` say the same in other words. Other people's labels (`sampled`) tell the category and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from routing.types import CATEGORIES, Category

LEAST_OF_EACH = 30
"""Fewer prompts than this of a category teach nothing."""

UNKNOWN = -1

FOLDS = 5
LEFT_OUT = "extra-rough"
"""The file whose prompts tell how the weights do on a source that they have not met."""

_COMPLEXITIES = (1, 2, 3, 4, 5)
_LENGTHS = ("short", "medium", "long")
_FILE = re.compile(r"(?:extra-|more-|third-)?(?P<language>[a-z]{2})(?:-.*)?")


class BadPrompts(Exception):  # noqa: N818 - named for what is wrong
    """The prompts cannot be trained on; the message says why, and what is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A prompt and its labels. ``tools`` is 0 or 1; ``length`` 0, 1 or 2 for a short, medium or long answer; or `UNKNOWN`."""

    prompt: str
    category: Category
    complexity: int
    tools: int
    length: int
    style: str
    language: str
    group: str
    source: str

    @property
    def answers(self) -> tuple[int, int, int, int]:
        """The right answer of each head, as its column, or `UNKNOWN`."""
        complexity = self.complexity - 1 if self.complexity != UNKNOWN else UNKNOWN
        return CATEGORIES.index(self.category), complexity, self.tools, self.length

    def in_fold(self, fold: int, folds: int) -> bool:
        """Whether the prompt is in this part of so many; a group is in one part as a whole."""
        return int(hashlib.sha256(self.group.encode()).hexdigest(), 16) % folds == fold


def is_left_out(one: Labelled) -> bool:
    """Whether the prompt is one of those that the figures are of: every fifth group, and the file `LEFT_OUT`."""
    return one.source == LEFT_OUT or one.in_fold(0, FOLDS)


def read_prompts(paths: Iterable[Path]) -> list[Labelled]:
    """Read files of prompts, each prompt once.

    Raises:
        BadPrompts: a line is malformed, or a category has too few prompts.

    """
    found: dict[str, Labelled] = {}
    for path in sorted(paths):
        for labelled in rows_of(path):
            found.setdefault(labelled.prompt, labelled)
    _check(list(found.values()))
    return list(found.values())


def rows_of(path: Path) -> list[Labelled]:
    """Read one file of prompts, however few.

    Raises:
        BadPrompts: a line is malformed.

    """
    lines = path.read_text("utf-8").split("\n")
    return [_labelled(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]


def sampled(path: Path, most: int) -> list[Labelled]:
    """At most so many prompts of each source and raw label from a gzip'd file of other people's labels, the same each time."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = sorted(map(json.loads, lines), key=lambda row: hashlib.sha256(row["prompt"].encode()).hexdigest())
    taken, kept = Counter[tuple[str, str]](), list[Labelled]()
    for row in rows:
        kind = row["source"], row["raw_label"]
        taken[kind] += 1
        if taken[kind] <= most:
            kept.append(_of_others(row))
    return kept


def _of_others(row: Mapping[str, str]) -> Labelled:
    return Labelled(
        prompt=row["prompt"],
        category=CATEGORIES[CATEGORIES.index(row["label"])],
        complexity=UNKNOWN,
        tools=UNKNOWN,
        length=UNKNOWN,
        style="other",
        language="en",
        group=row["prompt"],
        source=f"{row['source']} {row['raw_label']}",
    )


def _labelled(line: str, path: Path, number: int) -> Labelled:
    try:
        row = json.loads(line)
        named = _FILE.fullmatch(path.stem)
        language = row.get("language") or (named["language"] if named else "en")
        labelled = Labelled(
            prompt=_prompt(row["prompt"]),
            category=CATEGORIES[CATEGORIES.index(row["category"])],
            complexity=_COMPLEXITIES[_COMPLEXITIES.index(row["complexity"])],
            tools=int(bool(row["tools"])),
            length=_LENGTHS.index(row["output"]),
            style=row.get("style", "plain"),
            language=language,
            group=f"{language} {row.get('group') or row['prompt']}",
            source=path.stem,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
        raise BadPrompts(f"{path.name}, line {number}: {problem!r}. Mend the line, or take it out.") from problem
    return labelled


def _prompt(text: object) -> str:
    if isinstance(text, str) and text.strip():
        return text
    raise ValueError("prompt is empty")


def _check(prompts: Sequence[Labelled]) -> None:
    counts = Counter(prompt.category for prompt in prompts)
    if short := {category: counts[category] for category in CATEGORIES if counts[category] < LEAST_OF_EACH}:
        have = ", ".join(f"{category} has {count}" for category, count in short.items())
        raise BadPrompts(
            f"every category needs at least {LEAST_OF_EACH} prompts; {have}. Write more, or name more files."
        )
