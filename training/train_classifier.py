# ruff: noqa: INP001 - a folder of programs, no package
"""Train the task classifier: prompts → `routing/analyzer/weights`. About half an hour on an idle core.

    OPENBLAS_NUM_THREADS=1 python training/train_classifier.py [--prompts FOLDER] [--labels FILE] [--base FILE] [--out FOLDER]

The prompts are learned as they are written, and then, for one round more, as people in a hurry write them
(`training/roughen.py`); the weights midway between before and after that round do better on both than either (arXiv
2109.01903). Every fifth group of prompts and one whole file of them are left out: they give the figures and the temperature of
the probabilities. ``--base`` is multilingual-e5-small as `python server.py pull` fetches it. The manifest beside the weights
names the files with their sha256, the seed and the figures. `bench/classifier.py` trains without one language or source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
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
from training.transformer import Weights  # noqa: E402

WINDOW = 192
"""Tokens: of a longer prompt the first 62 and the last 128 are read, in about 20 ms."""
FOLDS = 5
LABELS = ROOT.parent / "shared" / "data" / "task_labels" / "labels.jsonl.gz"
LABELS_OF_A_KIND = 30
LEFT_OUT = "extra-rough"
"""The file whose prompts tell how the weights do on a source that they have not met."""

_REMINDED = 3
"""Of the prompts as they were written, every third is in the round of rough ones."""

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
        self._words = self._cut.words(np.arange(len(self._pieces)))
        self._reader = Engine(cut, threads=1)
        self._found = [features_of(one.prompt, classify(one.prompt)) for one in prompts]
        self._names = tuple(sorted({name for features in self._found for name in features}))
        self._states: list[NDArray[np.float16]] | None = None

    def train(
        self, rows: Sequence[int], folder: Path, temperature: float = 1.0, *, half: int | None = None
    ) -> LearnedClassifier:
        """Train on these of the prompts, write the weights into ``folder``, and load them as the server would.

        ``half`` is of the surroundings of rough prompts (`roughened`).
        """
        fitting = Fitting(self._cut, self._words, self._plan, len(self._names))
        if self._states is None:
            self._states = fitting.frozen_states([self._tokens(one) for one in self.prompts])
        mine = [self.prompts[row] for row in rows]
        numbers = np.array([vector_of(self._found[row], self._names) for row in rows])
        heads = Heads(
            weights=np.empty((0, 0), np.float32),
            bias=np.empty(0, np.float32),
            names=self._names,
            means=numbers.mean(0),
            spreads=np.maximum(numbers.std(0), _LEAST_SPREAD),
            temperature=temperature,
        )
        told = fitting.fit(self._examples(mine, heads), [self._states[row] for row in rows])
        print(*told, sep="\n", flush=True)  # noqa: T201 - a program
        own = [one for one in mine if one.style != "other"]
        rough = [*(roughened(one, half=half) for one in own), *own[::_REMINDED]]
        before = fitting.rounded()
        after = self._another_round(rough, heads, before)
        midway = {name: (before[name] + value) / 2 for name, value in after.items()}
        return self._written(midway, heads, folder)

    def _another_round(self, prompts: Sequence[Labelled], heads: Heads, begin: Weights) -> Weights:
        fitting = Fitting(self._cut, self._words, self._plan.of_rough, len(heads.names), begin)
        states = fitting.frozen_states([self._tokens(one) for one in prompts])
        print(*fitting.fit(self._examples(prompts, heads), states), sep="\n", flush=True)  # noqa: T201 - a program
        return fitting.weights

    def _tokens(self, one: Labelled) -> Sequence[int]:
        """The very tokens that the server will read."""
        return self._reader._tokens(one.prompt)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see above

    def _examples(self, prompts: Sequence[Labelled], heads: Heads) -> list[Example]:
        return [
            Example(
                tokens=self._tokens(one),
                numbers=heads.scaled(vector_of(features_of(one.prompt, classify(one.prompt)), heads.names)),
                answers=one.answers,
            )
            for one in prompts
        ]

    def _written(self, weights: Weights, heads: Heads, folder: Path) -> LearnedClassifier:
        write_encoder(
            folder / ENCODER,
            self._source,
            pieces=self._pieces,
            layers=self._plan.layers,
            window=WINDOW,
            trained={name: value for name, value in weights.items() if not name.startswith("heads")},
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
    own = len(prompts)
    prompts += sampled(labels, LABELS_OF_A_KIND) if labels else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trainer = Trainer(prompts, base, folder, plan)
        fold = [row for row, one in enumerate(prompts[:own]) if one.source != LEFT_OUT and one.in_fold(0, FOLDS)]
        source = [row for row, one in enumerate(prompts[:own]) if one.source == LEFT_OUT]
        rest = sorted(set(range(len(prompts))) - set(fold) - set(source))
        classifier = trainer.train(rest, folder, half=0)
        temperature, figures = measured(classifier, [prompts[row] for row in fold], [prompts[row] for row in source])
        print(json.dumps(figures, indent=1), flush=True)  # noqa: T201 - as above
        write_heads(folder / HEADS, replace(read_heads(folder / HEADS), temperature=temperature))
        facts: dict[str, object] = {
            "base": MULTILINGUAL_E5_SMALL.sha256,
            "prompts": {path.name: {"sha256": _sha256(path), "rows": _rows(path)} for path in paths},
            "surroundings": _sha256(SURROUNDINGS),
            "trained_on": f"all but every fifth group and {LEFT_OUT}.jsonl, which the figures are of",
            "labels": {"sha256": _sha256(labels), "rows": len(prompts) - own} if labels else None,
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


def measured(
    classifier: LearnedClassifier, fold: Sequence[Labelled], source: Sequence[Labelled]
) -> tuple[float, dict[str, Any]]:
    """The temperature and the figures on a fold, the same fold said roughly, and a source, none of them trained on."""
    judged = {
        "held_out": [judged_by(classifier, one) for one in fold],
        "held_out_rough": [judged_by(classifier, roughened(one, half=1)) for one in fold],
        "left_out_source": [judged_by(classifier, one) for one in source],
    }
    figures = {name: figures_of(some) for name, some in judged.items() if some}
    return temperature_of([one for some in judged.values() for one in some]), figures


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
