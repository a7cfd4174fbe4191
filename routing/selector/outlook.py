"""What is expected of each model for one task, and who is good enough by that: the learned half of selection.

The decision matrix names a *reference*. A model whose quality was measured, by outcomes that were trained on or by this
caller's scores, takes its place where it costs less and surely does as well, up to an allowance; or where the
reference itself was found to do worse than it should. Models of which nothing but the registry's facts is known never do:
benchmarks say little of everyday prompts, and the matrix holds what is known of a category.

Exploration tries, for a small share of tasks, another model that is expected to clear the same floor, in proportion to how
little is known of it. How probable each choice was is written down, so that another policy can be reckoned from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from routing.learning.policy import Candidate, best_within
from routing.registry import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How probably a model does a task well (``quality``), give or take ``doubt``, one standard deviation.

    ``prior`` is the same before the caller's own scores. ``sure`` is the quality that may be counted on, ``None`` where it
    rests on facts alone.
    """

    quality: float
    doubt: float
    prior: float
    sure: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a model lately was for a caller: until its first token, and then for each one, in milliseconds."""

    first_token_ms: float
    per_token_ms: float

    def latency_ms(self, output_tokens: int) -> int:
        """Expected time to the last token."""
        return round(self.first_token_ms + self.per_token_ms * output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected for one task.

    ``allowance`` is by how much a quality may lie below what is expected of the reference. ``exploration`` is the share of
    tasks that explore, and ``draw`` (0 to 1, uniform over tasks) decides about this one. ``warm_model`` has the
    conversation so far in its provider's cache. ``given_up`` says why the ledger's guard lets nothing be expected of any model,
    and ``instead`` names the one that it takes for all, where that is not the matrix. ``notices`` are for the caller.
    """

    forecasts: Mapping[str, Forecast] = field(default_factory=dict[str, Forecast])
    allowance: float = 0.0
    exploration: float = 0.0
    draw: float = 1.0
    speeds: Mapping[str, Speed] = field(default_factory=dict[str, Speed])
    warm_model: str | None = None
    given_up: str | None = None
    instead: str | None = None
    notices: tuple[str, ...] = ()


NO_OUTLOOK = Outlook()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """The model that takes the place of the reference, how probable that was, and who was expected to be good enough."""

    model: Model
    explored: bool
    propensity: float
    floor: float


def preferred(
    reference: Model, eligible: Sequence[Model], outlook: Outlook, cost: Callable[[Model], int | None]
) -> Preference | None:
    """Who should take the task instead of, or as, the reference; ``None`` where nothing is expected of the reference.

    The greedy choice is the best value by `routing.learning.policy.best_within`, for which the allowance was tested: among
    those that clear the floor and cost no more than the reference. Where the reference itself was found to fall below the
    floor, it is the cheapest that clears it; where nobody does, the reference.
    """
    expected = outlook.forecasts.get(reference.model_id)
    if expected is None:
        return None
    floor = expected.prior - outlook.allowance
    clear = _surely_above(floor, eligible, outlook)
    holds = expected.quality >= floor or not clear
    greedy = _best_value(reference, clear, outlook, cost) if holds else _cheapest(clear, cost)
    others = _explorable(floor, reference, eligible, outlook, cost) if outlook.exploration else []
    if not others:
        return Preference(model=greedy, explored=False, propensity=1.0, floor=floor)
    if outlook.draw < outlook.exploration:
        chosen = _drawn(others, outlook.draw / outlook.exploration, outlook)
        return Preference(
            model=chosen,
            explored=chosen != greedy,
            propensity=_propensity(chosen, greedy, others, outlook),
            floor=floor,
        )
    return Preference(
        model=greedy, explored=False, propensity=_propensity(greedy, greedy, others, outlook), floor=floor
    )


def _surely_above(floor: float, eligible: Sequence[Model], outlook: Outlook) -> list[Model]:
    forecasts = ((model, outlook.forecasts.get(model.model_id)) for model in eligible)
    return [model for model, one in forecasts if one is not None and one.sure is not None and one.sure >= floor]


def _explorable(
    floor: float, reference: Model, eligible: Sequence[Model], outlook: Outlook, cost: Callable[[Model], int | None]
) -> list[Model]:
    """Models of the reference's tier or better, or measured ones, that probably clear the floor and cost no more."""
    most = cost(reference)
    found: list[Model] = []
    for model in eligible:
        forecast, price = outlook.forecasts.get(model.model_id), cost(model)
        if forecast is None or forecast.quality < floor or price is None or most is None or price > most:
            continue
        if model.tier <= reference.tier or forecast.sure is not None:
            found.append(model)
    return sorted(found, key=lambda model: model.model_id) if len(found) > 1 else []


def _best_value(
    reference: Model, clear: Sequence[Model], outlook: Outlook, cost: Callable[[Model], int | None]
) -> Model:
    forecasts = outlook.forecasts
    own = Candidate(
        model_id=reference.model_id,
        quality=forecasts[reference.model_id].quality,
        cost_microusd=cost(reference),
    )
    others = [
        Candidate(model_id=model.model_id, quality=forecasts[model.model_id].sure or 0.0, cost_microusd=cost(model))
        for model in clear
    ]
    chosen = best_within(others, own, outlook.allowance)
    return next((model for model in clear if model.model_id == chosen.model_id), reference)


def _cheapest(models: Sequence[Model], cost: Callable[[Model], int | None]) -> Model:
    priced = [(price, model.model_id, model) for model in models if (price := cost(model)) is not None]
    return min(priced, key=lambda one: one[:2])[2] if priced else models[0]


def _shares(models: Sequence[Model], outlook: Outlook) -> list[float]:
    doubts = [outlook.forecasts[model.model_id].doubt for model in models]
    total = sum(doubts)
    return [doubt / total if total else 1 / len(doubts) for doubt in doubts]


def _drawn(models: Sequence[Model], place: float, outlook: Outlook) -> Model:
    ends = accumulate(_shares(models, outlook))
    return next((model for model, end in zip(models, ends, strict=True) if place < end), models[-1])


def _propensity(chosen: Model, greedy: Model, others: Sequence[Model], outlook: Outlook) -> float:
    shares = dict(zip((model.model_id for model in others), _shares(others, outlook), strict=True))
    explored = outlook.exploration * shares.get(chosen.model_id, 0.0)
    return round(explored + (1 - outlook.exploration if chosen == greedy else 0.0), 6)
