"""What another policy would have cost and earned on the routes of the ledger. Pure; `Reports.decisions` has the rows.

    chooser           a policy by its name, as a function from a row to the model that it would have taken
    replayed          each policy beside what was done, with intervals
    ledger_verdict    whether learned selection pays on this caller's own routes (`routing.guard` asks once an hour)

**Cost** is what the ledger booked where the policy takes the model that was taken; elsewhere the tokens of the attempts of the
model that answered, at today's prices of the other one, and the tools as they were. How much longer or shorter that one would
have written, and whether it would have failed, nobody knows.

**Quality** is known of what was done, by its score, and predicted of the rest. The estimate is doubly robust
(arXiv 1103.4601): the forecast of the policy's model, and where that is the model that was taken also (score − forecast) /
propensity. It is right where the forecasts are or where the propensities are. Forecasts are first brought to the scale of this
caller's scores: moved by the mean of score − forecast of the model's own answers, which counts in full once there are many.

Money is integer micro-dollars, qualities and propensities are 0 to 1. The order of the rows makes no difference.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from routing.learning.policy import CONFIDENCE, Candidate, Measured, Verdict, best_within, guard
from routing.pricing import PriceList, cost_microusd, total_microusd
from routing.state import Decided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMED_POLICIES = ("matrix", "learned", "cheapest", "best_quality")
DONE = "done"

FEWEST_SCORED = 100
"""Scored routes below which the guard says nothing."""

DEFAULT_MAX_LOSS = 0.02
_ROUNDS = 400
_TRUST = 20.0
"""How many answers of a model's own weigh as much as those of all models together, where its forecasts are corrected."""

_LEAST_PROPENSITY = 0.001
_MOST_EXPLORATION = 0.5
"""As the settings have it: what is more probable than that was not drawn by lot."""

Prices = Mapping[str, PriceList]
"""Of the models that the registry has, by id."""

Chooser = Callable[[Decided], str | None]
"""The model that a policy would have taken; ``None`` where the row does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its 95 % bootstrap interval over routes."""

    value: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a policy would have come to; costs in micro-dollars for all the routes, differences are policy − done.

    ``agreement`` is the share of routes where it takes the model that was taken. ``predicted`` is the mean forecast of its
    models. ``quality`` is estimated on the ``scored`` routes of which it can be, ``quality_difference`` on the same ones;
    ``support`` is how many independent scores of its own choices that rests on (Kish's effective sample size). In
    ``undecided`` routes the row does not say what it would have done, or no price is known: they count as they were.
    """

    policy: str
    cost_microusd: Estimate
    cost_difference_microusd: Estimate
    agreement: float
    predicted: float | None
    scored: int
    support: float
    quality: Estimate | None
    quality_difference: Estimate | None
    undecided: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Policies on the same ``routes``; ``unpriced`` ones, of unknown cost, are left out.

    ``gone`` are the models that the registry no longer has, with how many routes name each.
    """

    routes: int
    unpriced: int
    scored: int
    gone: Mapping[str, int]
    done: Replayed
    policies: tuple[Replayed, ...]


def chooser(name: str, prices: Prices, *, max_loss: float | None = None) -> Chooser:
    """The policy of a name: one of `NAMED_POLICIES`, or the id of a model that takes everything.

    ``learned`` is what it chose at the time; with a ``max_loss``, and where chance chose, the best value within that allowance
    (`routing.learning.policy.best_within`). What a caller forced, every policy obeys.
    """
    match name:
        case "matrix":
            choose: Chooser = _by_matrix
        case "learned":
            choose = partial(_by_forecast, prices=prices, max_loss=max_loss)
        case "cheapest":
            choose = partial(_cheapest, prices=prices)
        case "best_quality":
            choose = partial(_best, prices=prices)
        case _:
            choose = partial(_always, model_id=name)
    return lambda row: row.chosen_model if row.policy == "forced" else choose(row)


def replayed(
    rows: Sequence[Decided], policies: Sequence[str], prices: Prices, *, max_loss: float | None = None, seed: int = 0
) -> Replay:
    """Replay these policies on the rows. With no rows of known cost, every figure is 0 or ``None``."""
    ordered = sorted(rows, key=lambda row: (row.started_at, row.route_id))
    priced = [row for row in ordered if row.cost_microusd is not None]
    corrections = _corrections(priced)
    done = [_played(row, lambda row: row.chosen_model, prices, corrections) for row in priced]
    others = {
        name: [_played(row, choose, prices, corrections) for row in priced]
        for name, choose in ((name, chooser(name, prices, max_loss=max_loss)) for name in policies)
    }
    return Replay(
        routes=len(priced),
        unpriced=len(ordered) - len(priced),
        scored=sum(row.score is not None for row in priced),
        gone=_gone(priced, prices),
        done=_summed_up(DONE, priced, done, done, seed),
        policies=tuple(_summed_up(name, priced, played, done, seed) for name, played in others.items()),
    )


def ledger_verdict(
    rows: Sequence[Decided], prices: Prices, *, max_loss: float = DEFAULT_MAX_LOSS, seed: int = 0
) -> Verdict | None:
    """Whether learned selection pays by the caller's own scores; ``None`` below `FEWEST_SCORED` routes that can tell.

    These are routes that were scored and weighed: not forced, with forecasts. Rivals are as in `verdict_on`; a fixed model is
    one that was weighed for each of them and has a price.
    """
    ordered = sorted(rows, key=lambda row: (row.started_at, row.route_id))
    corrections = _corrections(ordered)
    evidence = [row for row in ordered if _can_tell(row)]
    if len(evidence) < FEWEST_SCORED:
        return None
    weighed = set[str](prices).intersection(*(row.forecasts for row in evidence))
    learned, matrix, *fixed = (
        _measured(name, evidence, prices, corrections) for name in ("learned", "matrix", *sorted(weighed))
    )
    assert learned is not None  # noqa: S101 - both of them can be told of a row that can tell
    assert matrix is not None  # noqa: S101 - as above
    return verdict_on(learned, matrix, [one for one in fixed if one is not None], max_loss=max_loss, seed=seed)


def verdict_on(
    learned: Measured, matrix: Measured, fixed: Sequence[Measured], *, max_loss: float, seed: int = 0
) -> Verdict:
    """Keep learned selection unless it is measured worse than what it should not be worse than.

    It is given up where the whole interval (paired bootstrap, 95 %) of its quality − a rival's lies below what may be lost:
    below −``max_loss`` against the matrix, where that costs more; below 0 against the matrix where it costs no more, and
    against the best fixed model that costs no more. Then the rival of the highest quality takes its place (of equals the
    cheaper), so that no other rival has been measured better than what is chosen. Not being measured better is no reason:
    learned selection is there to cost less.

    The verdict's ``outcome`` is ``fixed`` where a rival is ``chosen``, be it ``matrix`` or a model's id.
    """
    affordable = [one for one in fixed if one.cost <= learned.cost]
    best = max(affordable, key=lambda one: (one.quality, -one.cost, one.name), default=None)
    rivals = [matrix, *([best] if best is not None else [])]
    compared = {rival.name: _compared(learned, rival, seed) for rival in rivals}
    lost = [rival for rival in rivals if compared[rival.name].highest < -_may_lose(learned, rival, max_loss)]
    if not lost:
        beside = compared[matrix.name]
        reason = (
            f"learned selection is not measured worse: {_spoken(beside)}, for {_share_of(learned, matrix)} of its cost"
        )
        return replace(beside, chosen=learned.name, outcome="policy", reason=reason)
    chosen = max(rivals, key=lambda one: (one.quality, -one.cost))
    told = compared[chosen.name if chosen in lost else lost[0].name]
    reason = f"learned selection is measured worse: {_spoken(told)}, so {chosen.name} is taken for all"
    return replace(told, chosen=chosen.name, outcome="fixed", reason=reason)


# ── Policies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _by_matrix(row: Decided) -> str | None:
    return row.reference_model or (row.chosen_model if row.policy == "matrix" else None)


def _by_forecast(row: Decided, *, prices: Prices, max_loss: float | None) -> str | None:
    if max_loss is None and row.reference_model is not None and not _by_chance(row):
        return row.chosen_model
    weighed = {one.model_id: _as_candidate(one) for one in _candidates(row, prices)}
    reference = weighed.get(row.reference_model or "")
    allowance = DEFAULT_MAX_LOSS if max_loss is None else max_loss
    return None if reference is None else best_within(list(weighed.values()), reference, allowance).model_id


def _by_chance(row: Decided) -> bool:
    return row.policy == "explored" or row.propensity < _MOST_EXPLORATION


def _cheapest(row: Decided, *, prices: Prices) -> str | None:
    """Of equally cheap ones the better."""
    weighed = _candidates(row, prices)
    cheapest = min(weighed, key=lambda one: (one.cost, -one.quality, one.model_id), default=None)
    return None if cheapest is None else cheapest.model_id


def _best(row: Decided, *, prices: Prices) -> str | None:
    best = max(_candidates(row, prices), key=lambda one: (one.quality, -one.cost, one.model_id), default=None)
    return None if best is None else best.model_id


def _always(row: Decided, *, model_id: str) -> str | None:
    """The model, but where it was not among those that could take the task, or the task was for vectors."""
    if row.category == "embedding" or (row.forecasts and model_id not in row.forecasts):
        return None
    return model_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A model that was weighed: its forecast, and what the route's tokens cost on it today."""

    model_id: str
    quality: float
    cost: int


def _as_candidate(one: _Candidate) -> Candidate:
    return Candidate(model_id=one.model_id, quality=one.quality, cost_microusd=one.cost)


def _candidates(row: Decided, prices: Prices) -> list[_Candidate]:
    """The models that were weighed, are still there and have a price: one that is unknown is not zero."""
    return [
        _Candidate(model_id=model_id, quality=quality, cost=cost)
        for model_id, quality in row.forecasts.items()
        if model_id in prices and (cost := _price_on(row, prices[model_id])) is not None
    ]


# ── Figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Played:
    """One route under one policy; ``earned`` is ``None`` where it cannot be told, ``weight`` 1/propensity of a score used."""

    model_id: str
    cost: int
    earned: float | None
    predicted: float | None
    weight: float
    undecided: bool = False


def _played(row: Decided, choose: Chooser, prices: Prices, corrections: Mapping[str, float]) -> _Played:
    choice = choose(row)
    cost = None if choice is None else _cost(row, choice, prices)
    undecided = choice is None or cost is None
    model_id = row.chosen_model if undecided or choice is None else choice
    earned = _earned(row, model_id, corrections)
    is_scored_choice = earned is not None and model_id == row.chosen_model
    return _Played(
        model_id=model_id,
        cost=(row.cost_microusd if cost is None else cost) or 0,
        earned=earned,
        predicted=row.forecasts.get(model_id),
        weight=1 / _propensity(row) if is_scored_choice else 0.0,
        undecided=undecided,
    )


def _cost(row: Decided, model_id: str, prices: Prices) -> int | None:
    if model_id == row.chosen_model:
        return row.cost_microusd
    return _price_on(row, prices[model_id]) if model_id in prices else None


def _price_on(row: Decided, prices: PriceList) -> int | None:
    return total_microusd([row.tools_microusd, *(cost_microusd(usage, prices) for usage in row.usages)])


def _earned(row: Decided, model_id: str, corrections: Mapping[str, float]) -> float | None:
    """The doubly robust estimate for one scored route; without chance, its score where the model is the same."""
    if row.score is None:
        return None
    forecast = row.forecasts.get(model_id)
    if forecast is None or row.chosen_model not in row.forecasts:
        return row.score if model_id == row.chosen_model else None
    expected = min(1.0, max(0.0, forecast + corrections.get(model_id, corrections[""])))
    if model_id != row.chosen_model:
        return expected
    weight = 1 / _propensity(row)
    return weight * row.score + (1 - weight) * expected


def _propensity(row: Decided) -> float:
    return min(1.0, max(_LEAST_PROPENSITY, row.propensity))


def _corrections(rows: Sequence[Decided]) -> Mapping[str, float]:
    """By how much scores lie above forecasts, by model; under ``""`` that of a model whose answers nobody scored."""
    residuals: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.score is not None and row.model_used == row.chosen_model and row.chosen_model in row.forecasts:
            residuals[row.chosen_model].append(row.score - row.forecasts[row.chosen_model])
    every = [residual for one in residuals.values() for residual in one]
    overall = math.fsum(every) / len(every) if every else 0.0
    own = {name: (math.fsum(one) + _TRUST * overall) / (len(one) + _TRUST) for name, one in residuals.items()}
    return {**own, "": overall}


def _summed_up(
    name: str, rows: Sequence[Decided], played: Sequence[_Played], done: Sequence[_Played], seed: int
) -> Replayed:
    costs = [one.cost for one in played]
    differences = [one.cost - other.cost for one, other in zip(played, done, strict=True)]
    earned = [
        (one.earned, other.earned)
        for one, other in zip(played, done, strict=True)
        if one.earned is not None and other.earned is not None
    ]
    predicted = [one.predicted for one in played if one.predicted is not None]
    weights = [one.weight for one in played if one.weight]
    cost, difference = _means([costs, differences], seed)
    quality, gain = _means([[mine for mine, _ in earned], [mine - theirs for mine, theirs in earned]], seed)
    return Replayed(
        policy=name,
        cost_microusd=_times(len(rows), cost, sum(costs)),
        cost_difference_microusd=_times(len(rows), difference, sum(differences)),
        agreement=_mean([one.model_id == row.chosen_model for one, row in zip(played, rows, strict=True)]) or 0.0,
        predicted=_mean(predicted),
        scored=len(earned),
        support=math.fsum(weights) ** 2 / math.fsum(weight**2 for weight in weights) if weights else 0.0,
        quality=quality,
        quality_difference=gain,
        undecided=sum(one.undecided for one in played),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _means(columns: Sequence[Sequence[float]], seed: int) -> list[Estimate | None]:
    """The mean of each column and its interval; the columns are drawn together. ``None`` of nothing."""
    if not columns[0]:
        return [None] * len(columns)
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    values: Floats = np.array(columns, float)
    rows = values.shape[1]
    draws = np.random.default_rng(seed)
    means: Floats = np.array([values @ _times_drawn(draws, rows) / rows for _ in range(_ROUNDS)])
    lowest, highest = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [
        Estimate(value=math.fsum(column) / rows, lowest=float(low), highest=float(high))
        for column, low, high in zip(columns, lowest, highest, strict=True)
    ]


def _times_drawn(draws: np.random.Generator, rows: int) -> NDArray[np.int64]:
    """How often each row is among as many drawn with replacement."""
    import numpy as np  # noqa: PLC0415 - as above

    drawn: NDArray[np.int64] = draws.integers(0, rows, rows)
    return np.bincount(drawn, minlength=rows)


def _times(rows: int, mean: Estimate | None, total: int) -> Estimate:
    """The estimate of a sum; the sum itself is exact."""
    if mean is None:
        return Estimate(value=0.0, lowest=0.0, highest=0.0)
    return Estimate(value=float(total), lowest=rows * mean.lowest, highest=rows * mean.highest)


def _gone(rows: Sequence[Decided], prices: Prices) -> Mapping[str, int]:
    named = (
        {row.chosen_model, *row.forecasts, *([row.reference_model] if row.reference_model else [])} for row in rows
    )
    counted = Counter(model_id for names in named for model_id in names if model_id not in prices)
    return dict(sorted(counted.items()))


# ── The guard ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _can_tell(row: Decided) -> bool:
    """Whether it was scored, and both learned selection and the matrix had their say."""
    return (
        row.score is not None
        and row.cost_microusd is not None
        and row.policy != "forced"
        and row.reference_model is not None
        and row.chosen_model in row.forecasts
    )


def _measured(name: str, rows: Sequence[Decided], prices: Prices, corrections: Mapping[str, float]) -> Measured | None:
    """A policy on the evidence; ``None`` for a model of which something is not known."""
    choose = chooser(name, prices)
    played = [_played(row, choose, prices, corrections) for row in rows]
    if name not in NAMED_POLICIES and any(one.undecided for one in played):
        return None
    earned = [row.score or 0.0 if one.earned is None else one.earned for one, row in zip(played, rows, strict=True)]
    return Measured(name=name, qualities=earned, costs=[float(one.cost) for one in played])


def _compared(learned: Measured, rival: Measured, seed: int) -> Verdict:
    """`guard`'s comparison; where the draws have it otherwise, the mean is within its interval."""
    verdict = guard(learned, [rival], seed=seed)
    return replace(
        verdict, lowest=min(verdict.lowest, verdict.gain), highest=max(verdict.highest, verdict.gain), reason=""
    )


def _may_lose(learned: Measured, rival: Measured, max_loss: float) -> float:
    return max_loss if rival.cost > learned.cost else 0.0


def _share_of(learned: Measured, rival: Measured) -> str:
    return f"{learned.cost / rival.cost:.0%}" if rival.cost else "all"


def _spoken(verdict: Verdict) -> str:
    interval = f"{100 * verdict.lowest:+.1f} to {100 * verdict.highest:+.1f}"
    return f"{100 * verdict.gain:+.1f} points of quality ({interval}) against {verdict.rival}"
