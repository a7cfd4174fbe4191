"""The task classifier on prompts that it was not trained on, beside the rules alone; and how long it takes.

    python bench/classifier.py                          # the shipped weights on training/held_out, which nobody trains on; what
                                                        # the manifest says of a training with prompts left out; the latency
    python bench/classifier.py --labels FILE.jsonl      # the shipped weights on other prompts
    python bench/classifier.py --leave-out ru           # trains without a language, a file (en-3) or a source of labels (bfcl)

``--leave-out`` trains on the rest first, for about twenty minutes. ``--labels`` reads rows as `training/labelled.py` does.
Latency is per prompt, rules and counting included, after warm-up, on the prompts of `training/prompts`. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio
import platformdirs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.analyzer import RulesAnalyzer  # noqa: E402 - the path comes first
from routing.analyzer.cascade import CascadeAnalyzer  # noqa: E402
from routing.analyzer.learned import MANIFEST, WEIGHTS, load  # noqa: E402
from routing.embedded.assets import MULTILINGUAL_E5_SMALL  # noqa: E402
from routing.tokens import TokenCounter  # noqa: E402
from routing.types import Task  # noqa: E402
from training.fitting import Plan  # noqa: E402
from training.labelled import Labelled, read_prompts, rows_of, sampled  # noqa: E402
from training.scoring import figures_of, judged_by  # noqa: E402
from training.train_classifier import FIGURES, LABELS, LABELS_OF_A_KIND, Trainer  # noqa: E402

PROMPTS = ROOT / "training" / "prompts"
HELD_OUT = ROOT / "training" / "held_out"
_WARM_UP = 50
_TIMED = 1_000


def without(left_out: str, base: Path) -> dict[str, Any]:
    """Train on everything but one language or file, and measure on that."""
    prompts = read_prompts(PROMPTS.glob("*.jsonl"))
    prompts += sampled(LABELS, LABELS_OF_A_KIND) if LABELS.is_file() else []
    theirs = [one for one in prompts if left_out in (one.language, one.source, one.source.split()[0])]
    if not theirs:
        sys.exit(f"no prompts are of language or file {left_out!r}.")
    ours = [row for row, one in enumerate(prompts) if one not in theirs]
    with tempfile.TemporaryDirectory() as scratch:
        classifier = Trainer(prompts, base, Path(scratch), Plan()).train(ours, Path(scratch))
    return figures_of([judged_by(classifier, one) for one in theirs])


def on_labels(paths: Iterable[Path]) -> dict[str, Any]:
    """The shipped weights on files of labelled prompts."""
    classifier = load()
    return figures_of([judged_by(classifier, one) for path in sorted(paths) for one in rows_of(path)])


async def latency(prompts: Sequence[Labelled]) -> dict[str, float]:
    """Milliseconds per prompt of the whole analyzer."""
    analyzer = CascadeAnalyzer(RulesAnalyzer(TokenCounter(Path("nowhere"))))
    begun = time.perf_counter()
    await analyzer.analyze(Task(prompt="hello"))
    first = 1e3 * (time.perf_counter() - begun)
    taken = list[float]()
    for one in prompts[: _WARM_UP + _TIMED]:
        begun = time.perf_counter()
        await analyzer.analyze(Task(prompt=one.prompt))
        taken.append(1e3 * (time.perf_counter() - begun))
    cuts = statistics.quantiles(taken[_WARM_UP:], n=100)
    return {"first": round(first, 1), "p50": round(cuts[49], 2), "p90": round(cuts[89], 2), "p99": round(cuts[98], 2)}


def _arguments() -> argparse.Namespace:
    home = platformdirs.user_data_path("pointsman")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--leave-out")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--base", type=Path, default=home / "models" / MULTILINGUAL_E5_SMALL.file_name)
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for, and print it as JSON."""
    given = _arguments()
    if given.leave_out:
        figures = without(given.leave_out, given.base)
    elif given.labels:
        figures = on_labels([given.labels])
    else:
        prompts = read_prompts(PROMPTS.glob("*.jsonl"))
        every = prompts[:: max(1, len(prompts) // (_WARM_UP + _TIMED))]
        manifest = json.loads((WEIGHTS / MANIFEST).read_text("utf-8"))
        figures = {"never_trained_on": on_labels(HELD_OUT.glob("*.jsonl"))}
        figures |= {name: manifest[name] for name in ("trained_on", *FIGURES) if name in manifest}
        figures["latency_ms"] = anyio.run(latency, every)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
