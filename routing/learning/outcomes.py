"""Outcomes: which model answered which prompt how well, from files or from the user's ledger.

A file holds JSON lines, plain or gzip'd. A row has ``prompt`` and either ``scores`` (model → 0..1) or ``weak`` and ``strong``
(0..1; their models are ``weak_model`` and ``strong_model``, or `PAIR` where the row names none). Anything else in it is left
alone. Rows without a text are skipped where every row of the file is so (outcomes per instance, kept for their cost).

What the answers cost is in the row (``costs``: model → micro-dollars), or is estimated from a ``model_prices.json`` beside the
file: model → ``input_price`` and ``output_price`` in dollars per million tokens.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import cast

from routing.errors import TrainingError
from routing.state import LedgerLine, Reports

PAIR = ("mixtral-8x7b-instruct", "gpt-4-1106-preview")
"""The weak and the strong model of RouteLLM's benchmark (arXiv 2406.18665)."""

PRICES_FILE = "model_prices.json"

_SUFFIXES = (".jsonl", ".jsonl.gz")
_CHARS_PER_TOKEN = 4
_ANSWER_TOKENS = 200
"""A cost that nobody recorded is estimated from the prompt's length and an answer of middling length, whoever gives it."""

_NOT_A_LETTER = re.compile(r"\W+")
_TEXT_KEY_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How well each model answered one prompt: ``scores`` 0 (wrong) to 1 (right). ``source`` is ``folder/task``.

    ``costs`` is what the answer cost, in micro-dollars, for the models of which that is known.
    """

    prompt: str
    source: str
    scores: Mapping[str, float]
    costs: Mapping[str, int] = field(default_factory=dict[str, int])

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
class Price:
    """What a model costs, in dollars per million tokens: the same number as micro-dollars per token."""

    input: float
    output: float

    def cost(self, prompt: str) -> int:
        """What an answer to this prompt is estimated to cost, in micro-dollars."""
        return round(self.input * len(prompt) / _CHARS_PER_TOKEN + self.output * _ANSWER_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """All outcomes of a folder, a file or the ledger, and what they came from."""

    outcomes: tuple[Outcome, ...]
    files: tuple[DataFile, ...]

    def __add__(self, other: Dataset) -> Dataset:
        return Dataset(outcomes=(*self.outcomes, *other.outcomes), files=(*self.files, *other.files))


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
    root = place.parent if place.is_file() else place
    read = [_read_folder(folder, list(files), root) for folder, files in groupby(paths, key=lambda path: path.parent)]
    outcomes = tuple(chain.from_iterable(part.outcomes for part in read))
    if not outcomes:
        raise TrainingError(f"{place} holds no outcome: no .jsonl or .jsonl.gz file in it has a row with scores.")
    return Dataset(outcomes=outcomes, files=tuple(chain.from_iterable(part.files for part in read)))


async def ledger_dataset(reports: Reports, caller: str) -> Dataset:
    """The answers of the ledger that were scored and whose prompts were kept; those to one prompt make one outcome.

    The source is ``ledger/category``. Where a model answered a prompt more than once, the last score counts.
    """
    found: dict[str, LedgerLine] = {}
    after: int | None = 0
    while after is not None:
        page = await reports.export(caller, since=None, after=after)
        found |= {
            line.route_id: line for line in page.lines if line.score is not None and line.prompt and line.model_used
        }
        after = page.after
    outcomes: dict[str, Outcome] = {}
    for line in found.values():
        one = _outcome_of_line(line)
        before = outcomes.get(one.prompt, one)
        outcomes[one.prompt] = replace(one, scores={**before.scores, **one.scores}, costs={**before.costs, **one.costs})
    rows = "".join(json.dumps(asdict(line)) + "\n" for line in found.values())
    file = DataFile(name="ledger", sha256=hashlib.sha256(rows.encode()).hexdigest(), rows=len(found))
    return Dataset(outcomes=tuple(outcomes.values()), files=(file,))


def _outcome_of_line(line: LedgerLine) -> Outcome:
    assert line.prompt and line.model_used and line.score is not None  # noqa: S101, PT018 - chosen for that above
    return Outcome(
        prompt=line.prompt,
        source=f"ledger/{line.category}",
        scores={line.model_used: line.score},
        costs={} if line.cost_microusd is None else {line.model_used: line.cost_microusd},
    )


def _read_folder(folder: Path, paths: Sequence[Path], root: Path) -> Dataset:
    outcomes: list[Outcome] = []
    files: list[DataFile] = []
    prices: Mapping[str, Price] = {}
    if (folder / PRICES_FILE).is_file():
        content = (folder / PRICES_FILE).read_bytes()
        prices = _prices_of(content, where=str(folder / PRICES_FILE))
        files.append(_file(folder / PRICES_FILE, root, content, rows=0))
    for path in paths:
        content = path.read_bytes()
        rows = [_priced(outcome, prices) for outcome in _outcomes_of(path, content)]
        outcomes += rows
        files.append(_file(path, root, content, rows=len(rows)))
    return Dataset(outcomes=tuple(outcomes), files=tuple(files))


def _file(path: Path, root: Path, content: bytes, *, rows: int) -> DataFile:
    return DataFile(name=path.relative_to(root).as_posix(), sha256=hashlib.sha256(content).hexdigest(), rows=rows)


def _prices_of(content: bytes, *, where: str) -> dict[str, Price]:
    try:
        listed = cast("object", json.loads(content))
    except ValueError as failure:
        raise TrainingError(f"{where} is not JSON: {failure}.") from failure
    if not isinstance(listed, dict):
        raise TrainingError(f"{where} is not an object of model → prices.")
    return {model: _price(row, f"{where}: {model}") for model, row in cast("dict[str, object]", listed).items()}


def _price(row: object, where: str) -> Price:
    prices = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    given, returned = (_amount(prices.get(f"{side}_price"), f"{where}: {side}_price") for side in ("input", "output"))
    return Price(input=given, output=returned)


def _priced(outcome: Outcome, prices: Mapping[str, Price]) -> Outcome:
    """The outcome with an estimate of every cost that its row does not tell."""
    estimated = {model: prices[model].cost(outcome.prompt) for model in outcome.scores if model in prices}
    return replace(outcome, costs=estimated | dict(outcome.costs)) if estimated else outcome


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
    scores, costs = _scores(row, where), _costs(row, where)
    return Outcome(prompt=prompt, source=f"{folder}/{task}", scores=scores, costs=costs)


def _costs(row: Mapping[str, object], where: str) -> dict[str, int]:
    costs = row.get("costs", {})
    if not isinstance(costs, dict):
        raise TrainingError(f'{where}: "costs" is not an object of model → micro-dollars.')
    given = cast("dict[str, object]", costs)
    return {model: round(_amount(cost, f"{where}: the cost of {model}")) for model, cost in given.items()}


def _amount(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise TrainingError(f"{what} is not a number from 0 up.")
    return float(value)


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
