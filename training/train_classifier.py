# ruff: noqa: INP001 - a folder of programs, no package
"""Train the task classifier: prompts → `routing/analyzer/weights`. About 45 minutes on an idle core.

    OPENBLAS_NUM_THREADS=1 python training/train_classifier.py [--prompts FOLDER] [--labels FILE] [--base FILE] --out MEASURED
    OPENBLAS_NUM_THREADS=1 python training/train_classifier.py … --all MEASURED

The prompts are learned as they are written, and then, for one round more, as people in a hurry write them
(`training/roughen.py`); the weights midway between before and after that round do better on both than either (arXiv
2109.01903). Every fifth group of prompts and one whole file of them are left out: they give the figures and the temperature of
the probabilities. With ``--all`` nothing is left out, and both are those of such a training, in the folder that is named.
``--base`` is multilingual-e5-small as `python server.py pull` fetches it. The manifest beside the weights names the files with
their sha256, the seed and the figures. `bench/classifier.py` trains without one language or source.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
from training.labelled import LEFT_OUT, BadPrompts, Labelled, is_left_out, read_prompts, sampled  # noqa: E402
from training.roughen import SURROUNDINGS, roughened  # noqa: E402
from training.scoring import figures_of, judged_by, temperature_of  # noqa: E402
from training.transformer import Weights  # noqa: E402

WINDOW = 192
"""Tokens: of a longer prompt the first 62 and the last 128 are read, in about 20 ms."""
LABELS = ROOT.parent / "shared" / "data" / "task_labels" / "labels.jsonl.gz"
LABELS_OF_A_KIND = 30

FIGURES = ("held_out", "held_out_rough", "held_out_more", "held_out_third", "left_out_source")
"""What the manifest tells figures of."""

_LATER = {"held_out_more": "more-", "held_out_third": "third-"}
_ALL_BUT = f"all but every fifth group and {LEFT_OUT}.jsonl, which the figures are of"
_ALL = f"all prompts; the figures and the temperature are of a training without every fifth group and {LEFT_OUT}.jsonl"

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


def train_and_write(  # noqa: PLR0917 - where from, where to, and how
    paths: Sequence[Path], labels: Path | None, base: Path, out: Path, plan: Plan, told_by: Path | None = None
) -> dict[str, Any]:
    """The whole training; returns the figures, which are of the project's own prompts.

    With ``told_by``, nothing is left out: the figures and the temperature are those of the weights in that folder, which a
    training on the same files, but for what it left out, has written.

    Raises:
        BadPrompts: the prompts cannot be trained on, or the weights in ``told_by`` were not trained on the same files.

    """
    prompts = read_prompts(paths)
    own = len(prompts)
    prompts += sampled(labels, LABELS_OF_A_KIND) if labels else []
    facts: dict[str, object] = {
        "base": MULTILINGUAL_E5_SMALL.sha256,
        "prompts": {path.name: {"sha256": _sha256(path), "rows": _rows(path)} for path in paths},
        "surroundings": _sha256(SURROUNDINGS),
        "labels": {"sha256": _sha256(labels), "rows": len(prompts) - own} if labels else None,
        "vocabulary": _sha256(VOCABULARY),
        "plan": asdict(plan),
    }
    told = _told_by(told_by, facts) if told_by else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        left_out = {row for row, one in enumerate(prompts[:own]) if is_left_out(one)} if told is None else set[int]()
        rest = [row for row in range(len(prompts)) if row not in left_out]
        classifier = Trainer(prompts, base, folder, plan).train(rest, folder, half=0 if told is None else None)
        temperature, figures = told or measured(classifier, [prompts[row] for row in sorted(left_out)])
        print(json.dumps(figures, indent=1), flush=True)  # noqa: T201 - as above
        write_heads(folder / HEADS, replace(read_heads(folder / HEADS), temperature=temperature))
        trained_on = _ALL_BUT if told is None else _ALL
        write_manifest(folder, {**facts, "trained_on": trained_on, "temperature": temperature, **figures})
        out.mkdir(parents=True, exist_ok=True)
        for name in (ENCODER, HEADS, MANIFEST):
            shutil.copyfile(folder / name, out / name)
    return figures


def measured(classifier: LearnedClassifier, left_out: Sequence[Labelled]) -> tuple[float, dict[str, Any]]:
    """The temperature and the figures on prompts that were not trained on: every fifth group, said roughly too, and a source.

    Of the files ``more-…`` and ``third-…`` the fifth group is told apart, so that ``held_out`` stays what it was before there
    were any.
    """
    fold = [one for one in left_out if one.source != LEFT_OUT and not one.source.startswith(tuple(_LATER.values()))]
    judged = {
        "held_out": [judged_by(classifier, one) for one in fold],
        "held_out_rough": [judged_by(classifier, roughened(one, half=1)) for one in fold],
        "left_out_source": [judged_by(classifier, one) for one in left_out if one.source == LEFT_OUT],
    }
    for name, files in _LATER.items():
        judged[name] = [judged_by(classifier, one) for one in left_out if one.source.startswith(files)]
    figures = {name: figures_of(some) for name, some in judged.items() if some}
    return temperature_of([one for some in judged.values() for one in some]), figures


def _told_by(folder: Path, facts: Mapping[str, object]) -> tuple[float, dict[str, Any]]:
    """The temperature and the figures that the manifest in a folder tells, if it is of the same files and plan."""
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    others = [name for name, fact in facts.items() if manifest.get(name) != fact]
    if others or manifest["trained_on"] != _ALL_BUT:
        raise BadPrompts(
            f"the weights in {folder} were trained otherwise ({', '.join(others) or 'on all'}). Train without --all first."
        )
    return manifest["temperature"], {name: manifest[name] for name in FIGURES if name in manifest}


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
    parser.add_argument(
        "--all",
        type=Path,
        metavar="FOLDER",
        help="leave nothing out; figures and temperature are of the weights in FOLDER",
    )
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
        train_and_write(sorted(given.prompts.glob("*.jsonl")), labels, given.base, given.out, plan, given.all)
    except BadPrompts as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
