"""What the learned routing is worth: trains on four fifths of the data, evaluates on the fifth that is left, five times.

    python bench/routing.py [--data ../shared/data] [--rounds 400] [--json]

Prints, each with its 95 % bootstrap interval over prompts: for RouteLLM's pair APGR, CPT(50) and CPT(80) beside random, prompt
length alone and the oracle; for the nine-model set quality and cost of the learned policy beside every fixed model and the
oracle, what each allowance promises, and the guard's verdict. Splits go by prompt, spellings of one prompt together. Informs;
gates nothing. Takes about three minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.errors import TrainingError  # noqa: E402
from routing.learning.calibration import ALLOWANCES, MAX_LOSSES  # noqa: E402
from routing.learning.evaluation import Figure, Floats, Panel, apgr, cpt, panel_of, with_interval  # noqa: E402 - the path comes first
from routing.learning.outcomes import PAIR, Dataset, Outcome, read_dataset  # noqa: E402
from routing.learning.policy import guard, safe_allowance  # noqa: E402
from routing.learning.train import FOLDS, SEED, fold_of, train  # noqa: E402

PARTS = ("mmlu", "gsm8k")
Table = dict[str, dict[str, Figure]]


def main() -> None:
    """Print the tables."""
    arguments = parsed()
    try:
        dataset = read_dataset(arguments.data)
    except TrainingError as failure:
        sys.exit(f"bench/routing: {failure}")
    started = time.perf_counter()
    pair = [one for one in dataset.outcomes if set(one.scores) == set(PAIR)]
    nine = [one for one in dataset.outcomes if one.source.startswith("ulab_llmrouter/") and one.costs]
    if not pair or not nine:
        sys.exit(f"bench/routing: {arguments.data} has no routellm_gold/ or no ulab_llmrouter/; nothing to evaluate.")
    models = sorted(nine[0].scores)
    scores, predicted = predictions(dataset, pair, nine, models)
    tables = {part: pair_table([one for one in pair if is_part(one, part)], scores, arguments.rounds) for part in PARTS}
    panel = panel_of(nine, models, np.array([predicted[one.prompt] for one in nine]))
    report: dict[str, object] = {
        "pair": tables,
        "nine": nine_report(panel, arguments.rounds),
        "seconds": time.perf_counter() - started,
    }
    show(report, as_json=arguments.json)


def parsed() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=400, help="bootstrap rounds")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def predictions(
    dataset: Dataset, pair: Sequence[Outcome], nine: Sequence[Outcome], models: Sequence[str]
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Score of each pair prompt, and P(well) of the nine models for each of theirs; by a model that saw neither.

    Scores are ranks within their fold (0 to 1), MMLU and GSM8K apart: five models' scores are not on one scale, and a fold
    with more to gain has, of all folds, the model that saw least to gain.
    """
    scores: dict[str, float] = {}
    predicted: dict[str, Floats] = {}
    for fold in range(FOLDS):
        seen = tuple(one for one in dataset.outcomes if fold_of(one, SEED) != fold)
        model = train(replace(dataset, outcomes=seen), command="bench/routing.py", date="", calibrate=False)
        for part in PARTS:
            held = [one.prompt for one in pair if fold_of(one, SEED) == fold and is_part(one, part)]
            scores |= dict(zip(held, ranks(model.scores(held, *PAIR)), strict=True))
        others = [one.prompt for one in nine if fold_of(one, SEED) == fold]
        predicted |= dict(zip(others, model.probabilities(others, models), strict=True))
    return scores, predicted


def ranks(scores: Sequence[float]) -> list[float]:
    """The place of each score among all, 0 to 1."""
    return [float(place) / len(scores) for place in np.argsort(np.argsort(scores))]


def is_part(outcome: Outcome, part: str) -> bool:
    """Whether the prompt is of GSM8K, or of MMLU."""
    return outcome.source.endswith("/gsm8k") == (part == "gsm8k")


def pair_table(outcomes: Sequence[Outcome], scores: dict[str, float], rounds: int) -> Table:
    """APGR and CPT of the learned score and its baselines."""
    weak = np.array([one.scores[PAIR[0]] for one in outcomes])
    strong = np.array([one.scores[PAIR[1]] for one in outcomes])
    routers = {
        "random": np.random.default_rng(SEED).random(len(outcomes)),
        "prompt length": np.array([float(len(one.prompt)) for one in outcomes]),
        "learned": np.array([scores[one.prompt] for one in outcomes]),
        "oracle": strong - weak,
    }
    table = {name: pair_figures(router, weak, strong, rounds) for name, router in routers.items()}
    length, learned = routers["prompt length"], routers["learned"]
    table["learned − length"] = {"apgr": with_interval(paired(learned, length, weak, strong), len(weak), rounds=rounds)}
    return table


def pair_figures(router: Floats, weak: Floats, strong: Floats, rounds: int) -> dict[str, Figure]:
    """The three figures of one router."""

    def figure(share: float | None) -> Figure:
        def measure(rows: NDArray[np.int64]) -> float:
            given = (router[rows], weak[rows], strong[rows])
            return apgr(*given) if share is None else cpt(*given, share)

        return with_interval(measure, len(weak), rounds=rounds)

    return {"apgr": figure(None), "cpt50": figure(0.5), "cpt80": figure(0.8)}


def paired(first: Floats, second: Floats, weak: Floats, strong: Floats) -> Callable[[NDArray[np.int64]], float]:
    """The difference of two routers' APGR on the same prompts."""

    def measure(rows: NDArray[np.int64]) -> float:
        return apgr(first[rows], weak[rows], strong[rows]) - apgr(second[rows], weak[rows], strong[rows])

    return measure


def nine_report(panel: Panel, rounds: int) -> dict[str, object]:
    """Fixed models, oracle, and the policy: allowances tested on one half of the prompts, measured on the other, both ways."""
    order = np.random.default_rng(SEED).permutation(len(panel.quality))
    halves = (order[::2], order[1::2])
    runs = [half_run(panel.part(one), panel.part(other), rounds) for one, other in (halves, halves[::-1])]
    fixed = {one.name: {"quality": one.quality, "cost": one.cost} for one in panel.fixed()}
    best = panel.quality.argmax(axis=1)
    oracle = panel.measured("oracle", best)
    top = panel.measured("highest prediction", panel.predicted.argmax(axis=1))
    return {
        "fixed": fixed,
        "oracle": {"quality": oracle.quality, "cost": oracle.cost},
        "highest prediction": {"quality": top.quality, "cost": top.cost},
        "policy": runs,
        "calibration_error": calibration_error(panel),
    }


def half_run(calibration: Panel, held_out: Panel, rounds: int) -> dict[str, object]:
    """Test allowances on one half, measure those that passed on the other."""
    reference = calibration.best_fixed()
    losses = {allowance: calibration.losses(reference, allowance) for allowance in ALLOWANCES}
    tested = {loss: safe_allowance(losses, max_loss=loss, seed=SEED) for loss in MAX_LOSSES}
    return {
        "reference": calibration.models[reference],
        **{
            f"max_loss {loss:.0%}": policy_row(held_out, reference, allowance, rounds)
            for loss, allowance in tested.items()
            if allowance is not None
        },
    }


def policy_row(panel: Panel, reference: int, allowance: float, rounds: int) -> dict[str, object]:
    """The policy at one allowance on prompts that neither the predictions nor the allowance saw."""
    policy = panel.measured("learned", panel.within(reference, allowance))
    quality, costs = np.array(policy.qualities), np.array(policy.costs)
    others, bill = panel.quality[:, reference], panel.cost[:, reference]
    verdict = guard(policy, panel.fixed(), seed=SEED)
    return {
        "allowance": allowance,
        "quality": with_interval(lambda rows: float(quality[rows].mean()), len(quality), rounds=rounds),
        "against_reference": with_interval(
            lambda rows: float((quality - others)[rows].mean()), len(quality), rounds=rounds
        ),
        "cost_share": with_interval(
            lambda rows: float(costs[rows].sum() / bill[rows].sum()), len(quality), rounds=rounds
        ),
        "guard": asdict(verdict),
    }


def calibration_error(panel: Panel) -> float:
    """Expected calibration error of the predictions, in ten equal bins."""
    predicted, quality = panel.predicted.ravel(), panel.quality.ravel()
    bins = np.minimum((predicted * 10).astype(int), 9)
    counts = np.bincount(bins, minlength=10)
    missed = np.bincount(bins, predicted - quality, minlength=10)
    return float(np.abs(missed).sum() / counts.sum())


def show(report: dict[str, object], *, as_json: bool) -> None:
    """Print the report, for a person or as JSON."""
    if as_json:
        print(json.dumps(report, default=spoken, indent=1))
        return
    for path, value in flat(report, ""):
        print(f"{path:<58}{value}")


def spoken(value: object) -> object:
    """A dataclass for JSON."""
    if isinstance(value, Figure):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")


def flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    """The report as lines: where, and what."""
    if isinstance(value, Mapping):
        for key, one in cast("Mapping[str, object]", value).items():
            yield from flat(one, f"{path} {key}".strip())
    elif isinstance(value, list):
        for place, one in enumerate(cast("list[object]", value)):
            yield from flat(one, f"{path} {place}")
    else:
        yield path, f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
