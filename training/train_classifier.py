# ruff: noqa: INP001 - a folder of programs, no package
"""Train the task classifier: prompts → `routing/analyzer/weights`. About half an hour on two cores.

    OPENBLAS_NUM_THREADS=1 python training/train_classifier.py [--prompts FOLDER] [--labels FILE] [--base FILE] [--out FOLDER]

It trains twice, at once. First without every fifth group of prompts and without one file of them: this gives the figures on
both and the temperature of the probabilities. Second on all. Each prompt is trained on as it is written and as people in a
hurry write it (`training/roughen.py`). ``--base`` is multilingual-e5-small as `python server.py pull` fetches it. The manifest
beside the weights names the files with their sha256, the seed and the figures. `bench/classifier.py` trains without one
language or source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.analyzer.learned import (  # noqa: E402 - the path comes first
    ENCODER,
    HEADS,
    MANIFEST,
    WEIGHTS,
    Heads,
    LearnedClassifier,
    load,
    read_heads,
    write_heads,
)
from routing.analyzer.learned_features import features_of, vector_of  # noqa: E402
from routing.analyzer.rules import classify  # noqa: E402
from routing.embedded.assets import MULTILINGUAL_E5_SMALL  # noqa: E402
from routing.embedded.embedder_engine import Engine  # noqa: E402
from routing.embedded.embedder_file import ModelFile, read_model  # noqa: E402
from training.encoder_file import write_encoder  # noqa: E402
from training.fitting import Example, Fitting, Plan  # noqa: E402
from training.labelled import BadPrompts, Labelled, read_prompts, sampled  # noqa: E402
from training.roughen import SURROUNDINGS, roughened  # noqa: E402
from training.scoring import figures_of, judged_by, temperature_of  # noqa: E402

WINDOW = 192
"""Tokens: of a longer prompt the first 62 and the last 128 are read, in about 20 ms."""
FOLDS = 5
LABELS = ROOT.parent / "shared" / "data" / "task_labels" / "labels.jsonl.gz"
LABELS_OF_A_KIND = 30
LEFT_OUT = "extra-rough"
"""The file whose prompts tell how the weights do on a source that they have not met."""

ROUGH_VARIANTS = 2
VOCABULARY = ROOT / "training" / "vocabulary.txt"
_LEAST_SPREAD = 1e-3


class Trainer:
    """Trains on prompts whose tokens, numbers and frozen states are computed once. ``folder`` is for its files."""

    def __init__(self, prompts: Sequence[Labelled], base: Path, folder: Path, plan: Plan) -> None:
        self.prompts = prompts
        self._plan = plan
        self._source = read_model(base)
        self._pieces = [int(line) for line in VOCABULARY.read_text("utf-8").split()]
        cut = folder / "cut.bin"
        write_encoder(cut, self._source, pieces=self._pieces, layers=plan.layers, window=WINDOW, trained={})
        self._cut: ModelFile = read_model(cut)
        reader = Engine(cut, threads=1)
        self._tokens = [reader._tokens(one.prompt) for one in prompts]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the very tokens that it will read
        found = [features_of(one.prompt, classify(one.prompt)) for one in prompts]
        self._names = tuple(sorted({name for features in found for name in features}))
        self._numbers = np.array([vector_of(features, self._names) for features in found])
        self._states: list[NDArray[np.float16]] | None = None

    def train(self, rows: Sequence[int], folder: Path, temperature: float = 1.0) -> LearnedClassifier:
        """Train on these of the prompts, write the weights into ``folder``, and load them as the server would."""
        words = self._cut.words(np.arange(len(self._pieces)))
        fitting = Fitting(self._cut, words, self._plan, len(self._names))
        if self._states is None:
            self._states = fitting.frozen_states(self._tokens)
        numbers = self._numbers[list(rows)]
        heads = Heads(
            weights=np.empty((0, 0), np.float32),
            bias=np.empty(0, np.float32),
            names=self._names,
            means=numbers.mean(0),
            spreads=np.maximum(numbers.std(0), _LEAST_SPREAD),
            temperature=temperature,
        )
        examples = [
            Example(
                tokens=self._tokens[row], numbers=heads.scaled(self._numbers[row]), answers=self.prompts[row].answers
            )
            for row in rows
        ]
        for told in fitting.fit(examples, [self._states[row] for row in rows]):
            print(told, flush=True)  # noqa: T201 - a program
        weights = fitting.weights
        trained = {name: value for name, value in weights.items() if not name.startswith("heads")}
        write_encoder(
            folder / ENCODER,
            self._source,
            pieces=self._pieces,
            layers=self._plan.layers,
            window=WINDOW,
            trained=trained,
        )
        write_heads(folder / HEADS, replace(heads, weights=weights["heads.w"], bias=weights["heads.b"]))
        write_manifest(folder, {})
        return load(folder)


def write_manifest(folder: Path, facts: dict[str, object]) -> None:
    """Write the manifest of the weights in a folder."""
    files = {name: _sha256(folder / name) for name in (ENCODER, HEADS)}
    (folder / MANIFEST).write_text(json.dumps({"files": files, **facts}, indent=1) + "\n", "utf-8")


def train_and_write(paths: Sequence[Path], labels: Path | None, base: Path, out: Path, plan: Plan) -> dict[str, Any]:
    """The whole training; returns the figures, which are of the project's own prompts.

    Raises:
        BadPrompts: the prompts cannot be trained on.

    """
    prompts = read_prompts(paths)
    others = sampled(labels, LABELS_OF_A_KIND) if labels else []
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(2) as pool:
        folder = Path(scratch)
        measuring = pool.submit(_measured, prompts, others, base, plan)
        pool.submit(_trained, prompts, others, base, folder, plan).result()
        temperature, figures = measuring.result()
        write_heads(folder / HEADS, replace(read_heads(folder / HEADS), temperature=temperature))
        facts: dict[str, object] = {
            "base": MULTILINGUAL_E5_SMALL.sha256,
            "prompts": {path.name: {"sha256": _sha256(path), "rows": _rows(path)} for path in paths},
            "surroundings": _sha256(SURROUNDINGS),
            "labels": {"sha256": _sha256(labels), "rows": len(others)} if labels else None,
            "vocabulary": _sha256(VOCABULARY),
            "plan": asdict(plan),
            "temperature": temperature,
            **figures,
        }
        write_manifest(folder, facts)
        out.mkdir(parents=True, exist_ok=True)
        for name in (ENCODER, HEADS, MANIFEST):
            shutil.copyfile(folder / name, out / name)
    return figures


def with_rough(prompts: Sequence[Labelled], *, half: int | None = None) -> list[Labelled]:
    """The prompts, and each of them said roughly in `ROUGH_VARIANTS` ways."""
    return [*prompts, *(roughened(one, number, half=half) for number in range(ROUGH_VARIANTS) for one in prompts)]


def _trained(
    prompts: Sequence[Labelled], others: Sequence[Labelled], base: Path, folder: Path, plan: Plan
) -> LearnedClassifier:
    """Train on everything, into ``folder``."""
    every = [*with_rough(prompts), *others]
    return Trainer(every, base, folder, plan).train(range(len(every)), folder)


def _measured(
    prompts: Sequence[Labelled], others: Sequence[Labelled], base: Path, plan: Plan
) -> tuple[float, dict[str, Any]]:
    """Train without a fold of the prompts and without one file of them; the temperature, and the figures on both."""
    source = [one for one in prompts if one.source == LEFT_OUT]
    fold = [one for one in prompts if one.source != LEFT_OUT and one.in_fold(0, FOLDS)]
    rest = [one for one in prompts if one.source != LEFT_OUT and not one.in_fold(0, FOLDS)]
    every = [*with_rough(rest, half=0), *others]
    with tempfile.TemporaryDirectory() as scratch:
        classifier = Trainer(every, base, Path(scratch), plan).train(range(len(every)), Path(scratch))
        groups = {
            "held_out": [judged_by(classifier, one) for one in fold],
            "held_out_rough": [judged_by(classifier, roughened(one, half=1)) for one in fold],
            "left_out_source": [judged_by(classifier, one) for one in source],
        }
    figures = {name: figures_of(judged) for name, judged in groups.items() if judged}
    print(json.dumps(figures, indent=1), flush=True)  # noqa: T201 - a program
    return temperature_of([one for judged in groups.values() for one in judged]), figures


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def _arguments() -> argparse.Namespace:
    home = platformdirs.user_data_path("pointsman")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--prompts", type=Path, default=ROOT / "training" / "prompts")
    parser.add_argument(
        "--labels", type=Path, default=LABELS, help="other people's labels; without the file, none are used"
    )
    parser.add_argument("--base", type=Path, default=home / "models" / MULTILINGUAL_E5_SMALL.file_name)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--epochs", type=int, default=Plan().epochs)
    parser.add_argument("--frozen", type=int, default=Plan().frozen)
    return parser.parse_args()


def main() -> None:
    """Read the command line, train, and say what went wrong in one line."""
    given = _arguments()
    if not given.base.is_file():
        sys.exit(f"{given.base} is missing. Run `python server.py pull`, or name the file with --base.")
    plan = Plan(epochs=given.epochs, frozen=given.frozen)
    try:
        labels = given.labels if given.labels.is_file() else None
        train_and_write(sorted(given.prompts.glob("*.jsonl")), labels, given.base, given.out, plan)
    except BadPrompts as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
