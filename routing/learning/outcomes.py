"""Outcomes: which model answered which prompt how well, from files or from the user's ledger.

A file holds JSON lines, plain or gzip'd. A row has ``prompt`` and either ``scores`` (model → 0..1) or ``weak`` and ``strong``
(0..1; their models are ``weak_model`` and ``strong_model``, or `PAIR` where the row names none). Anything else in it is left
alone. Rows without a text are skipped where every row of the file is so (outcomes per instance, kept for their cost).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from routing.errors import TrainingError

PAIR = ("mixtral-8x7b-instruct", "gpt-4-1106-preview")
"""The weak and the strong model of RouteLLM's benchmark (arXiv 2406.18665)."""

_SUFFIXES = (".jsonl", ".jsonl.gz")
_NOT_A_LETTER = re.compile(r"\W+")
_TEXT_KEY_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How well each model answered one prompt: ``scores`` 0 (wrong) to 1 (right). ``source`` is ``folder/task``."""

    prompt: str
    source: str
    scores: Mapping[str, float]

    @property
    def key(self) -> str:
        """The same for prompts that differ in spelling only: they belong on one side of a split."""
        text = unicodedata.normalize("NFKC", self.prompt.lower())
        letters = _NOT_A_LETTER.sub("", text)[:_TEXT_KEY_CHARS]
        return hashlib.sha256(letters.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that was read: its name within the folder, its sha256, and how many rows it gave."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All outcomes of a folder or file, and what they came from."""

    outcomes: tuple[Outcome, ...]
    files: tuple[DataFile, ...]


def read_dataset(place: Path) -> Dataset:
    """Read every file of outcomes below ``place`` (or the one file that it is), in the order of their names.

    Raises:
        TrainingError: nothing is there, or a row is broken; the message names file and line.

    """
    if not place.exists():
        raise TrainingError(
            f"there is no training data at {place}: give --data a folder (or file) of .jsonl or .jsonl.gz rows with "
            '"prompt" and "scores", such as {"prompt": "…", "scores": {"model": 1}}.'
        )
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.name.endswith(_SUFFIXES))
    outcomes: list[Outcome] = []
    files: list[DataFile] = []
    for path in paths:
        content = path.read_bytes()
        rows = list(_outcomes_of(path, content))
        outcomes += rows
        name = path.name if place.is_file() else path.relative_to(place).as_posix()
        files.append(DataFile(name=name, sha256=hashlib.sha256(content).hexdigest(), rows=len(rows)))
    if not outcomes:
        raise TrainingError(f"{place} holds no outcome: no .jsonl or .jsonl.gz file in it has a row with scores.")
    return Dataset(outcomes=tuple(outcomes), files=tuple(files))


def _outcomes_of(path: Path, content: bytes) -> Iterator[Outcome]:
    rows = list(_objects(path, content))
    if all("scores" not in row and "weak" not in row for _, row in rows):
        return  # labels and the like: no outcome in it
    if all(row.get("prompt") is None for _, row in rows):
        return
    for where, row in rows:
        yield outcome_of(row, where=where, folder=path.parent.name)


def _objects(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        text = (gzip.decompress(content) if path.name.endswith(".gz") else content).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as failure:
        raise TrainingError(f"{path} cannot be read: {failure}.") from failure
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path} line {number}", _object(line, f"{path} line {number}")


def _object(line: str, where: str) -> dict[str, object]:
    try:
        row: object = json.loads(line)
    except ValueError as failure:
        raise TrainingError(f"{where} is not JSON: {failure}.") from failure
    if not isinstance(row, dict):
        raise TrainingError(f"{where} is not a JSON object.")
    return cast("dict[str, object]", row)


def outcome_of(row: Mapping[str, object], *, where: str, folder: str = "ledger") -> Outcome:
    """One row as an outcome.

    Raises:
        TrainingError: a field is missing or of the wrong type; the message begins with ``where``.

    """
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise TrainingError(f'{where} has no text in "prompt".')
    task = row.get("task") or row.get("domain") or "prompts"
    return Outcome(prompt=prompt, source=f"{folder}/{task}", scores=_scores(row, where))


def _scores(row: Mapping[str, object], where: str) -> dict[str, float]:
    if "scores" in row:
        scores = row["scores"]
        if not isinstance(scores, dict) or not scores:
            raise TrainingError(f'{where}: "scores" is not an object of model → score.')
        given = cast("dict[str, object]", scores)
    elif "weak" in row and "strong" in row:
        weak, strong = row.get("weak_model", PAIR[0]), row.get("strong_model", PAIR[1])
        given = {str(weak): row["weak"], str(strong): row["strong"]}
    else:
        raise TrainingError(f'{where} has neither "scores" nor "weak" and "strong".')
    return {model: _score(score, f"{where}: the score of {model}") for model, score in given.items()}


def _score(score: object, what: str) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise TrainingError(f"{what} is not a number from 0 to 1.")
    if not 0 <= score <= 1:
        raise TrainingError(f"{what} is {score}: scores go from 0 to 1.")
    return float(score)
