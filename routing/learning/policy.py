"""From predictions to a choice: the cheapest model above a floor, a margin that means something, and the guard.

Everything here is a pure function of numbers. Qualities are 0 to 1, costs micro-dollars.

- `cheapest_above` is selection by expected cost at a quality floor; `best_value` weighs quality against cost where there is
  no floor.
- `safe_thrift` turns "at most 2 % worse, with 95 % confidence" into how thrifty the choice may be: learn then
  test (arXiv 2110.01052) along one sequence, with the finite-sample test of arXiv 2010.09686 (betting) at each step.
- `guard` compares a policy with the best fixed model at equal cost on held-out outcomes, and takes the model where the policy
  was not measured to be better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95
_BOOTSTRAP_ROUNDS = 1_000
_LARGEST_BET = 0.75
"""Of what could be lost at once: the test's power hardly depends on it, its validity not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model for one prompt: its predicted quality, and what the prompt is expected to cost; ``None`` is unknown."""

    model_id: str
    quality: float
    cost_microusd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a policy, or a fixed model, earned and cost on held-out prompts, in the same order for all."""

    name: str
    qualities: Sequence[float]
    costs: Sequence[float]

    @property
    def quality(self) -> float:
        """Mean quality."""
        return sum(self.qualities) / len(self.qualities)

    @property
    def cost(self) -> float:
        """Mean cost."""
        return sum(self.costs) / len(self.costs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The guard's decision. ``gain`` is policy − rival in mean quality, ``lowest`` and ``highest`` its interval."""

    chosen: str
    outcome: Literal["policy", "fixed"]
    rival: str
    gain: float
    lowest: float
    highest: float
    reason: str


def cheapest_above(candidates: Sequence[Candidate], floor: float, margin: float = 0.0) -> Candidate | None:
    """The cheapest candidate whose quality, less ``margin``, clears ``floor``; ``None`` where none does.

    Of equally cheap ones the better is taken. An unknown price is not zero: such a candidate is never chosen.
    """
    clear = [one for one in candidates if one.cost_microusd is not None and one.quality - margin >= floor]
    return min(clear, key=_cheapest_first, default=None)


def best_value(candidates: Sequence[Candidate], unit_microusd: int, thrift: float) -> Candidate | None:
    """The candidate with the highest quality − ``thrift`` × cost / ``unit_microusd``; ``None`` where no price is known.

    ``thrift`` is the quality that one unit of money must at least buy: with the reference model's cost as the unit, 0.1 pays
    that much only for 10 points of quality. At 0 the best prediction wins, whatever it costs.
    """
    priced = [(one, one.cost_microusd) for one in candidates if one.cost_microusd is not None]
    unit = max(unit_microusd, 1)
    valued = [(thrift * cost / unit - one.quality, cost, one.model_id, one) for one, cost in priced]
    return min(valued)[-1] if valued else None


def safe_thrift(
    losses: Mapping[float, Sequence[float]],
    *,
    max_loss: float,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> float | None:
    """The largest thrift whose mean loss is below ``max_loss`` with this confidence; ``None`` where not even the smallest is.

    ``losses`` holds for each thrift the quality of the reference − that of the chosen model (−1 to 1) on prompts that the
    predictions did not see. They are tested from the smallest on, up to the first that fails, so that the confidence holds
    for the one that is returned, however many there are.
    """
    passed: float | None = None
    for thrift in sorted(losses):
        if loss_p_value(losses[thrift], max_loss, confidence=confidence, seed=seed) > 1 - confidence:
            return passed
        passed = thrift
    return passed


def loss_p_value(losses: Sequence[float], max_loss: float, *, confidence: float = CONFIDENCE, seed: int = 0) -> float:
    """How probable losses this low would be if their true mean were ``max_loss`` or more: valid for any number of them.

    A gambler bets that each loss is below ``max_loss``; if it is not, the chance ever to multiply the stake by k is 1/k
    at most. The bets are sized by the spread seen so far; the order is shuffled once, by the seed.
    """
    order = list(losses)
    random.Random(seed).shuffle(order)  # noqa: S311 - nothing secret
    hypothesis = (max_loss + 1) / 2
    capital = highest = 0.0
    total, squares = 0.5, 0.25
    for seen, loss in enumerate(order, start=1):
        value = (loss + 1) / 2
        bet = math.sqrt(2 * math.log(1 / (1 - confidence)) / (max(len(order), 1) * squares / seen))
        capital += math.log1p(min(bet, _LARGEST_BET / (1 - hypothesis)) * (hypothesis - value))
        highest = max(highest, capital)
        total += value
        squares += (value - total / (seen + 1)) ** 2
    return math.exp(-highest)


def guard(policy: Measured, fixed: Sequence[Measured], *, confidence: float = CONFIDENCE, seed: int = 0) -> Verdict:
    """Keep the policy if it is measured to be better than the best fixed model that costs no more, else take that model.

    The interval is a paired bootstrap over prompts, two-sided at ``confidence``; the policy wins where all of it is above 0.
    Where every fixed model costs more, the cheapest is the rival: better quality is then not asked for, only no loss.
    """
    affordable = [one for one in fixed if one.cost <= policy.cost]
    rival = max(affordable, key=lambda one: (one.quality, -one.cost)) if affordable else min(fixed, key=_mean_cost)
    gain, lowest, highest = _paired(policy, rival, confidence, seed)
    wins = lowest > 0 if affordable else lowest >= 0
    spoken = f"{100 * gain:+.1f} points of quality ({100 * lowest:+.1f} to {100 * highest:+.1f}) against {rival.name}"
    if wins:
        return Verdict(
            chosen=policy.name,
            outcome="policy",
            rival=rival.name,
            gain=gain,
            lowest=lowest,
            highest=highest,
            reason=f"{policy.name} is measured better: {spoken}, at equal cost or less",
        )
    return Verdict(
        chosen=rival.name,
        outcome="fixed",
        rival=rival.name,
        gain=gain,
        lowest=lowest,
        highest=highest,
        reason=f"{policy.name} is not measured better ({spoken}, at equal cost): {rival.name} is taken for all",
    )


def _paired(policy: Measured, rival: Measured, confidence: float, seed: int) -> tuple[float, float, float]:
    """Mean difference in quality, and its bootstrap interval."""
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    gains = np.array(policy.qualities, float) - np.array(rival.qualities, float)
    draws = np.random.default_rng(seed)
    means = [gains[draws.integers(0, len(gains), len(gains))].mean() for _ in range(_BOOTSTRAP_ROUNDS)]
    lowest, highest = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(gains.mean()), float(lowest), float(highest)


def _cheapest_first(candidate: Candidate) -> tuple[int, float, str]:
    return candidate.cost_microusd or 0, -candidate.quality, candidate.model_id


def _mean_cost(measured: Measured) -> float:
    return measured.cost
