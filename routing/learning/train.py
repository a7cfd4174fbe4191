"""Outcomes → `QualityModel`, always the same from the same outcomes; and scores for a file of prompts.

Nothing here is drawn by chance but the folds of cross-fitting, which follow from the prompts themselves and the seed: prompts
that differ in spelling only share a fold.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from routing.errors import InvalidTask, TrainingError
from routing.learning.abilities import Scale, canonical, fit_scale, sigmoid
from routing.learning.calibration import PanelPrompts, calibrated, panel_prompts
from routing.learning.evaluation import Panel, panel_of
from routing.learning.features import Features, features_of
from routing.learning.outcomes import PAIR, Dataset, Outcome
from routing.learning.quality import CALIBRATION, Facts, Gap, Manifest, QualityModel, Record
from routing.learning.recogniser import fit_recogniser
from routing.learning.ridge import Floats, Ridge, Settings, fit, out_of_fold
from routing.learning.stand_ins import LEVELS, STAND_INS, gap, labelled_prompts, prompt_files, written_prompts

SEED = 20_261_121
LABELLED_PROMPTS = Path(__file__).resolve().parents[2] / "training" / "prompts"
FEWEST_OUTCOMES = 100
"""Prompts that a model must have been tried on before anything is learned of it."""

_MOST_RECORDS = 12
FOLDS = 5
"""Parts into which prompts are split for cross-fitting, and for `bench/routing.py`."""

DIFFICULTY = Settings(penalty=10, shape_scale=0.1)
CORRECTION = Settings(penalty=10, shape_scale=0.1)
CHOICE = Settings(penalty=10, shape_scale=0.04)
OPEN = Settings(penalty=30, shape_scale=0.15)
KIND = Settings(penalty=0.3, shape_scale=0.2)
"""How the figures of each were found is in docs/adr/0013; all are round, and their neighbours do as well."""

_ANOTHER_ABILITY = ("bfcl/",)
"""Sources that are not on the scale: calling a function in the right form is not answering well, and strong models fail at
the form (gpt-4o-2024-08-06 is the third last there)."""

_STAND_IN_WEIGHT = 0.5
_SOURCE_WEIGHT = 10.0
"""All prompts of a stand-in source together count as much as ten written ones when kinds are learned."""

_TIER_EXAMPLES: tuple[tuple[str, ...], ...] = (
    ("o1", "o1-mini"),
    ("claude-3-5-sonnet", "gemini-1.5-pro"),
    ("gpt-4o", "llama-3.1-70b"),
    ("gpt-4o-mini", "claude-3-5-haiku", "llama-3.1-8b"),
)
"""Models of the data and the tiers that the registry gave them (tier 1: that of their successors)."""

_TIER_ABILITIES = (3.0, 2.0, 1.5, 0.8)
"""Where the examples are missing: round figures of the shipped training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examples:
    """Outcomes beside the features of their prompts, the fold that each belongs to, and its source (small ones as one)."""

    outcomes: Sequence[Outcome]
    features: Sequence[Features]
    sources: Sequence[str]
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], seed: int) -> _Examples:
        return cls(
            outcomes=outcomes,
            features=[features_of(outcome.prompt) for outcome in outcomes],
            sources=_large_sources(outcomes),
            folds=np.array([fold_of(outcome, seed) for outcome in outcomes]),
        )

    def where(self, rows: Sequence[int]) -> list[Features]:
        return [self.features[row] for row in rows]

    def without(self, fold: int) -> _Examples:
        """What a model may see that is to predict this fold."""
        rows = [int(row) for row in np.flatnonzero(self.folds != fold)]
        return _Examples(
            outcomes=[self.outcomes[row] for row in rows],
            features=self.where(rows),
            sources=[self.sources[row] for row in rows],
            folds=self.folds[rows],
        )


def train(
    dataset: Dataset,
    *,
    command: str,
    date: str,
    seed: int = SEED,
    labelled: Path = LABELLED_PROMPTS,
    calibrate: bool = True,
) -> QualityModel:
    """Learn from outcomes; kinds of open prompts also from the folder ``labelled``.

    What a choice by predictions loses is tested on prompts that several models answered at known costs, unless ``calibrate``
    is false: it takes three times as long as the rest. The same outcomes and seed give the same model, up to the rounding of
    the processor's arithmetic.

    Raises:
        TrainingError: there are too few outcomes, or all are alike; the message says how many are needed.

    """
    used = (outcome for outcome in dataset.outcomes if not outcome.source.startswith(_ANOTHER_ABILITY))
    outcomes = sorted(used, key=lambda outcome: (outcome.source, outcome.key, outcome.prompt))
    learnable, left_out = _sorted_out(outcomes)
    examples = _Examples.of(outcomes, seed)
    scale = fit_scale(outcomes)
    gaps = _gaps(examples, labelled)
    files = (*dataset.files, *(prompt_files(labelled) if gaps else ()))
    panel = panel_prompts(outcomes, learnable)
    if panel.lack:
        left_out[CALIBRATION] = panel.lack
    manifest = Manifest(
        command=command,
        date=date,
        seed=seed,
        data=tuple(asdict(file) for file in files),
        outcomes=len(outcomes),
        left_out=left_out,
    )
    model = _without_gaps(examples, scale, _doubt(examples, scale), learnable, manifest)
    tested = None if panel.lack or not calibrate else calibrated(_cross_fitted(examples, panel, model), seed=seed)
    return replace(model, gaps=gaps, calibration=tested)


def _without_gaps(
    examples: _Examples, scale: Scale, doubt: float, learnable: Collection[str], manifest: Manifest
) -> QualityModel:
    """All of the model that does not belong to one pair; not calibrated."""
    return QualityModel(
        difficulty=fit(examples.features, scale.difficulties, DIFFICULTY, scale.certainty),
        doubt=doubt,
        abilities={name: scale.abilities[name] for name in sorted(learnable)},
        tiers=_tiers(scale),
        recogniser=fit_recogniser(examples.features, examples.sources),
        records=_records(examples, scale, learnable),
        gaps={},
        calibration=None,
        manifest=manifest,
    )


def _doubt(examples: _Examples, scale: Scale) -> float:
    """The standard deviation of what the predicted difficulty misses on prompts that were not seen."""
    expected = out_of_fold(examples.features, scale.difficulties, examples.folds, DIFFICULTY)
    missed = np.average((scale.difficulties - expected) ** 2, weights=scale.certainty)
    return round(float(np.sqrt(missed)), 4)


def _cross_fitted(examples: _Examples, panel: PanelPrompts, whole: QualityModel) -> Panel:
    """The panel with predictions by models that are made like ``whole``, but saw no prompt of the fold that they predict."""
    outcomes = [examples.outcomes[row] for row in panel.rows]
    folds = examples.folds[list(panel.rows)]
    predicted = np.zeros((len(outcomes), len(panel.models)))
    for fold in np.unique(folds):
        seen = examples.without(int(fold))
        model = _without_gaps(seen, fit_scale(seen.outcomes), whole.doubt, whole.abilities, whole.manifest)
        unseen = np.flatnonzero(folds == fold)
        predicted[unseen] = model.probabilities([outcomes[row].prompt for row in unseen], panel.models)
    return panel_of(outcomes, panel.models, predicted)


def fold_of(outcome: Outcome, seed: int) -> int:
    """The fold of a prompt: the same for prompts that differ in spelling only."""
    return (int(outcome.key[:12], 16) ^ seed) % FOLDS


def score_lines(model: QualityModel, lines: Iterable[str], weak: str | Facts, strong: str | Facts) -> Iterator[str]:
    """For each line ``{"prompt": …}`` one line ``{"score": …}``, in order; blank lines are passed over.

    Raises:
        InvalidTask: a line is not such an object; the message names its number.
        AssetError: the model knows nothing of one of the pair.

    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield json.dumps({"score": round(model.score(_prompt_in(line, number), weak, strong), 8)})


def _prompt_in(line: str, number: int) -> str:
    try:
        row = cast("object", json.loads(line))
    except ValueError as failure:
        raise InvalidTask(f"line {number} is not JSON: {failure}.") from failure
    prompt = cast("dict[str, object]", row).get("prompt") if isinstance(row, dict) else None
    if not isinstance(prompt, str):
        raise InvalidTask(f'line {number} is not an object with a text in "prompt".')
    return prompt


def _sorted_out(outcomes: Sequence[Outcome]) -> tuple[set[str], dict[str, str]]:
    """The models that can be learned, and of each other one why not."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    prompts: defaultdict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        for model, score in outcome.scores.items():
            scores[canonical(model)].append(score)
            prompts[canonical(model)].add(outcome.key)
    reasons = {model: _too_little(given, len(prompts[model])) for model, given in sorted(scores.items())}
    left_out = {model: reason for model, reason in reasons.items() if reason}
    if len(left_out) == len(reasons):
        shown = "; ".join(f"{model}: {reason}" for model, reason in list(left_out.items())[:5])
        raise TrainingError(
            f"nothing can be learned from {len(outcomes)} outcomes. Each model needs {FEWEST_OUTCOMES} prompts at least, "
            f"some answered well and some badly. {shown}."
        )
    return set(reasons) - set(left_out), left_out


def _large_sources(outcomes: Sequence[Outcome]) -> list[str]:
    """The source of each outcome; those with too few prompts to be told apart go by their folder."""
    sizes = Counter(outcome.source for outcome in outcomes)
    return [
        outcome.source if sizes[outcome.source] >= FEWEST_OUTCOMES else outcome.source.partition("/")[0]
        for outcome in outcomes
    ]


def _too_little(scores: Sequence[float], prompts: int) -> str | None:
    if prompts < FEWEST_OUTCOMES:
        return f"{prompts} different prompts, {FEWEST_OUTCOMES} are needed"
    if min(scores) == max(scores):
        return f"every one of its {len(scores)} outcomes is {scores[0]:g}: one class only"
    return None


def _tiers(scale: Scale) -> tuple[float, float, float, float]:
    """The ability of a middling model of each tier; a weaker tier is never the abler one."""
    abilities: list[float] = []
    for examples, otherwise in zip(_TIER_EXAMPLES, _TIER_ABILITIES, strict=True):
        found = [scale.abilities[name] for name in examples if name in scale.abilities]
        complete = len(found) == len(examples)
        ability = sum(found) / len(found) if complete else otherwise
        abilities.append(round(min([ability, *abilities]), 4))
    return (abilities[0], abilities[1], abilities[2], abilities[3])


def _records(examples: _Examples, scale: Scale, learnable: Collection[str]) -> dict[str, Record]:
    """The record of each of the models with most outcomes."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for row, outcome in enumerate(examples.outcomes):
        for model, score in outcome.scores.items():
            rows[canonical(model)].append(row)
            scores[canonical(model)].append(score)
    most = sorted(learnable, key=lambda model: (-len(rows[model]), model))[:_MOST_RECORDS]
    hardness = _mean_by_source(examples.sources, scale.difficulties)
    return {
        model: _record(examples, rows[model], np.array(scores[model]), scale.abilities[model], hardness)
        for model in sorted(most)
    }


def _record(
    examples: _Examples, rows: Sequence[int], scores: Floats, ability: float, hardness: Mapping[str, float]
) -> Record:
    """Mean scores by source, the Rasch model's where it was not tried, and what is left to the prompt."""
    sources = [examples.sources[row] for row in rows]
    tried = _mean_by_source(sources, scores)
    guessed = {source: float(sigmoid(np.array(ability - hard))) for source, hard in hardness.items()}
    means = {source: round(tried.get(source, guess), 4) for source, guess in guessed.items()}
    left = scores - np.array([means[source] for source in sources])
    return Record(
        means=tuple(means[source] for source in sorted(means)),
        tried=tuple(source in tried for source in sorted(means)),
        correction=fit(examples.where(rows), left, CORRECTION),
    )


def _mean_by_source(sources: Sequence[str], values: Floats) -> dict[str, float]:
    by_source: defaultdict[str, list[float]] = defaultdict(list)
    for source, value in zip(sources, values, strict=True):
        by_source[source].append(float(value))
    return {source: sum(found) / len(found) for source, found in by_source.items()}


def _gaps(examples: _Examples, labelled: Path) -> dict[tuple[str, str], Gap]:
    """The gap of `PAIR`, where there are enough outcomes of both of its models."""
    weak, strong = PAIR
    both = [row for row, one in enumerate(examples.outcomes) if set(one.scores) == set(PAIR)]
    choice = [row for row in both if examples.features[row].choice]
    unbound = [row for row in both if not examples.features[row].choice]
    if len(both) < FEWEST_OUTCOMES:
        return {}
    ahead = {row: examples.outcomes[row].scores[strong] - examples.outcomes[row].scores[weak] for row in both}
    open_gap = _open_gap(examples, unbound, ahead) if len(unbound) >= FEWEST_OUTCOMES else None
    pair = Gap(
        choice=_choice_gap(examples, choice, ahead) if len(choice) >= FEWEST_OUTCOMES else None,
        open=open_gap,
        kind=_kind_levels(examples, labelled),
        familiar=_familiar(examples, unbound) if open_gap else (),
    )
    return {(canonical(weak), canonical(strong)): pair}


def _choice_gap(examples: _Examples, rows: Sequence[int], ahead: Mapping[int, float]) -> Ridge:
    return fit(examples.where(rows), np.array([ahead[row] for row in rows]), CHOICE)


def _open_gap(examples: _Examples, rows: Sequence[int], ahead: Mapping[int, float]) -> Ridge:
    """The gap on word problems: the pair's own outcomes, and stand-ins on the same kind of problem, at the pair's mean."""
    own = {examples.outcomes[row].key for row in rows}
    stand_ins = [
        (row, ahead_by)
        for source in _WORD_PROBLEMS
        for row, ahead_by in _centred_gaps(examples, source).items()
        if examples.outcomes[row].key not in own
    ]
    gaps = np.array([ahead[row] for row in rows])
    return fit(
        examples.where([*rows, *(row for row, _ in stand_ins)]),
        np.concatenate([gaps, [gaps.mean() + ahead_by for _, ahead_by in stand_ins]]),
        OPEN,
        np.concatenate([np.ones(len(rows)), np.full(len(stand_ins), _STAND_IN_WEIGHT)]),
    )


def _familiar(examples: _Examples, rows: Sequence[int]) -> tuple[str, ...]:
    """The sources that `_open_gap` learns from."""
    stand_ins = {
        source
        for source, outcome in zip(examples.sources, examples.outcomes, strict=True)
        if outcome.source in _WORD_PROBLEMS
    }
    sizes = Counter(examples.sources[row] for row in rows)
    return tuple(sorted(stand_ins | {source for source, size in sizes.items() if size >= FEWEST_OUTCOMES}))


_WORD_PROBLEMS = ("ulab_llmrouter/gsm8k", "ulab_llmrouter/agentverse-mgsm")


def _centred_gaps(examples: _Examples, source: str) -> dict[int, float]:
    gaps = {
        row: ahead
        for row, outcome in enumerate(examples.outcomes)
        if outcome.source == source and (ahead := gap(outcome)) is not None
    }
    mean = sum(gaps.values()) / len(gaps) if gaps else 0.0
    return {row: ahead - mean for row, ahead in gaps.items()}


def _kind_levels(examples: _Examples, labelled: Path) -> Ridge:
    """The level of a prompt's kind, from written prompts and the prompts of the stand-in sources."""
    written = [*written_prompts(), *labelled_prompts(labelled)]
    rows = [row for row, outcome in enumerate(examples.outcomes) if outcome.source in STAND_INS]
    sources = [examples.outcomes[row].source for row in rows]
    counted = [_SOURCE_WEIGHT / sources.count(source) for source in sources]
    return fit(
        [*examples.where(rows), *(features_of(one.prompt) for one in written)],
        np.array([*(LEVELS[STAND_INS[source].kind] for source in sources), *(LEVELS[one.kind] for one in written)]),
        KIND,
        np.array([*counted, *(1.0 for _ in written)]),
    )
