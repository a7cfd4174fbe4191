"""From a task and its caller's past to an `Outlook`.

    weights      what outcomes of many models taught (`routing.learning`), from the prompt's words; loaded when first needed
    scores       what this caller thought of answers: a Beta posterior whose prior is the prediction; half of a score's
                 weight is gone after 30 days
    runs         how often a model's calls fail of late, and how fast it is

Without outcomes or scores of any configured model, nothing is worked out: the matrix chooses.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from routing.catalog import Catalog
from routing.errors import AssetError
from routing.guard import LedgerGuard
from routing.learning.quality import SHIPPED, QualityModel
from routing.registry import Model
from routing.selector.outlook import NO_OUTLOOK, Forecast, Outlook, Speed
from routing.state import Experience, Feedback, Runs
from routing.types import Task, TaskAnalysis

HALF_LIFE_SECONDS = 30 * 86_400.0
RECENT_SECONDS = 86_400.0
EXPERIENCE_LASTS_SECONDS = 30.0

_PRIOR_WEIGHT = 6.0
_PRIOR_WEIGHT_MEASURED = 20.0
"""How many scores a prediction is worth: one by facts, and one by outcomes."""

_FEWEST_SCORES = 8.0
"""Scores (as far as they still count) from which on a model counts as measured by them."""

_CERTAINTY = 1.645
"""Standard deviations below the mean at which a quality by scores counts: 95 %, one-sided."""

_NEIGHBOUR = 0.5
"""What a score counts for tasks of the same category that are one step harder or easier."""

_CALLS_TRUSTED = 20
"""Answered calls that every model is given in advance, so that one failure says little."""

_FEWEST_CALLS = 5
_MOST_CALLERS = 1_000
_BY_TIER: Mapping[int, float] = {1: 0.95, 2: 0.85, 3: 0.77, 4: 0.70}
"""Where there are no weights: about what they predict for a middling prompt."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Weights:
    """The quality model, or why there is none."""

    model: QualityModel | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A caller's experience, by what it is asked for."""

    read_at: float
    scores: Mapping[tuple[str, str], Mapping[int, tuple[float, float]]] = field(
        default_factory=dict[tuple[str, str], Mapping[int, tuple[float, float]]]
    )
    runs: Mapping[str, Runs] = field(default_factory=dict[str, Runs])

    @classmethod
    def of(cls, experience: Experience, read_at: float) -> _Known:
        scores: defaultdict[tuple[str, str], dict[int, tuple[float, float]]] = defaultdict(dict)
        for one in experience.scored:
            scores[one.category, one.model_id][one.complexity] = (one.weight, one.good)
        return cls(read_at=read_at, scores=dict(scores), runs={one.model_id: one for one in experience.runs})

    def speeds(self) -> dict[str, Speed]:
        """How fast the models were of which that is known."""
        return {model_id: speed for model_id, runs in self.runs.items() if (speed := _speed(runs))}

    def scored(self, analysis: TaskAnalysis, model_id: str) -> tuple[float, float]:
        """How many scores count for such a task, and their sum."""
        by_complexity = self.scores.get((analysis.category, model_id), {})
        weight = good = 0.0
        for complexity, (count, total) in by_complexity.items():
            share = max(0.0, 1 - (1 - _NEIGHBOUR) * abs(complexity - analysis.complexity))
            weight, good = weight + share * count, good + share * total
        return weight, good


class Forecasts:
    """Looks ahead for the selector. ``clock`` is monotonic, ``wall_clock`` Unix time, both in seconds."""

    def __init__(
        self,
        feedback: Feedback,
        *,
        max_loss: float,
        exploration: float,
        guard: LedgerGuard | None = None,
        folder: Path = SHIPPED,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._feedback = feedback
        self._max_loss = max_loss
        self._exploration = exploration
        self._guard = guard
        self._folder = folder
        self._clock = clock
        self._wall_clock = wall_clock
        self._weights: _Weights | None = None
        self._loading = anyio.Lock()
        self._callers: OrderedDict[str, _Known] = OrderedDict()

    async def load(self) -> None:
        """Read the weights, in a thread; those that cannot be read are named in a notice of every outlook."""
        async with self._loading:
            if self._weights is None:
                self._weights = await anyio.to_thread.run_sync(_loaded, self._folder)

    async def outlook(
        self, task: Task, analysis: TaskAnalysis, catalog: Catalog, *, key: str, warm_model: str | None = None
    ) -> Outlook:
        """What is expected for a task. ``key`` decides whether it explores: the same key, the same decision."""
        if task.texts or task.constraints.force_model:
            return NO_OUTLOOK
        known = await self._known(task.caller)
        verdict = await self._guard.verdict(task.caller) if self._guard and known.scores else None
        if verdict is not None and verdict.outcome == "fixed":
            instead = None if verdict.chosen == "matrix" else verdict.chosen
            return Outlook(given_up=verdict.reason, instead=instead, warm_model=warm_model, speeds=known.speeds())
        await self.load()
        assert self._weights is not None  # noqa: S101 - loaded above
        models = [model for model in catalog.models.values() if _may_be_chosen(model, catalog)]
        allowance = _allowance(self._weights.model, self._max_loss)
        learned = self._weights.model if allowance is not None else None
        by_outcomes = {model.model_id for model in models if learned is not None and learned.knows(model.model_id)}
        forecasts: Mapping[str, Forecast] = {}
        if by_outcomes or known.scores:
            priors = await anyio.to_thread.run_sync(_priors, learned, task.prompt, models)
            forecasts = {
                model.model_id: _forecast(
                    prior, known, analysis, model.model_id, measured=model.model_id in by_outcomes
                )
                for model, prior in zip(models, priors, strict=True)
            }
        return Outlook(
            forecasts=forecasts,
            allowance=0.0 if allowance is None else allowance,
            exploration=self._exploration if known.scores else 0.0,
            draw=_draw(key),
            speeds=known.speeds(),
            warm_model=warm_model,
            notices=(self._weights.problem,) if self._weights.problem else (),
        )

    async def _known(self, caller: str) -> _Known:
        known = self._callers.get(caller)
        if known is not None and self._clock() - known.read_at < EXPERIENCE_LASTS_SECONDS:
            return known
        try:
            since = self._wall_clock() - RECENT_SECONDS
            read = await self._feedback.experience(caller, half_life_seconds=HALF_LIFE_SECONDS, since=since)
        except Exception:  # noqa: BLE001 - the store may fail in any way, and a task is not to fail of it
            _log.exception("what is known of the models could not be read")
            read = Experience()
        self._callers[caller] = known = _Known.of(read, self._clock())
        self._callers.move_to_end(caller)
        if len(self._callers) > _MOST_CALLERS:
            self._callers.popitem(last=False)
        return known


def _may_be_chosen(model: Model, catalog: Catalog) -> bool:
    return model.kind == "chat" and not model.superseded_by and catalog.is_configured(model)


def _loaded(folder: Path) -> _Weights:
    try:
        return _Weights(model=QualityModel.load(folder))
    except AssetError as problem:
        _log.warning("%s", problem)
        return _Weights(problem=str(problem))


def _allowance(model: QualityModel | None, max_loss: float) -> float | None:
    """By how much a predicted quality may lie below the reference's; ``None`` where predictions were not measured to pay."""
    if model is None or model.calibration is None or model.calibration.verdict.outcome != "policy":
        return None
    return model.calibration.allowance(max_loss)


def _priors(learned: QualityModel | None, prompt: str, models: Sequence[Model]) -> list[float]:
    if learned is None or not models:
        return [_BY_TIER[model.tier] for model in models]
    return [float(chance) for chance in learned.probabilities([prompt], models)[0]]


def _forecast(prior: float, known: _Known, analysis: TaskAnalysis, model_id: str, *, measured: bool) -> Forecast:
    """The mean and spread of the Beta posterior, times the share of calls that are answered.

    What outcomes predict counts as it is: the allowance was tested for that. What scores say counts as far as it is certain.
    """
    weight, good = known.scored(analysis, model_id)
    trust = _PRIOR_WEIGHT_MEASURED if measured else _PRIOR_WEIGHT
    quality = prior + (good - weight * prior) / (trust + weight)
    answered = _answered_share(known.runs.get(model_id))
    doubt = math.sqrt(quality * (1 - quality) / (trust + weight + 1))
    by_scores = (quality - _CERTAINTY * doubt) * answered if weight >= _FEWEST_SCORES else None
    return Forecast(
        quality=quality * answered,
        doubt=doubt,
        prior=prior,
        sure=quality * answered if measured else by_scores,
    )


def _answered_share(runs: Runs | None) -> float:
    if runs is None:
        return 1.0
    return (runs.answered + _CALLS_TRUSTED) / (runs.answered + runs.failed + _CALLS_TRUSTED)


def _speed(runs: Runs) -> Speed | None:
    """From the means of the calls; ``None`` where there are too few, or one of them was not measured."""
    if runs.answered < _FEWEST_CALLS or not runs.latency_ms or not runs.output_tokens:
        return None
    first = runs.first_token_ms or 0.0
    return Speed(first_token_ms=first, per_token_ms=max(0.0, runs.latency_ms - first) / runs.output_tokens)


def _draw(key: str) -> float:
    """A number from 0 to 1 that follows from the key, uniform over keys."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48
