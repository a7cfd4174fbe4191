"""From predictions to a choice: the best value within an allowance that means something, and the guard.

Everything here is a pure function of numbers. Qualities are 0 to 1, costs micro-dollars.

- `within` and `best_within` are selection by expected cost at a quality floor, which lies by an allowance below what is
  predicted of a reference.
- `safe_allowance` turns "at most 2 % worse, with 95 % confidence" into an allowance: learn then test (arXiv 2110.01052) along
  one sequence, with the finite-sample test of arXiv 2010.09686 (betting) at each step. `Calibration` keeps what passed.
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
FULL_PRICE = 0.2
"""The quality that the whole of the reference's cost must buy: of two models above the floor, one that costs half as much as
the reference is taken before a free one only if it is better by a tenth."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the policy is known to keep on prompts that its predictions did not see.

    ``allowances`` holds, for each loss of mean quality that passed the test at `CONFIDENCE`, the allowance that `best_within`
    may be given for it. ``verdict`` is the guard's on the same ``prompts``, answered by ``models``.
    """

    allowances: Mapping[float, float]
    verdict: Verdict
    prompts: int
    models: tuple[str, ...]

    def allowance(self, max_loss: float) -> float | None:
        """The allowance for the largest loss of the table that is at most ``max_loss``; ``None`` where none passed."""
        within = [loss for loss in self.allowances if loss <= max_loss]
        return self.allowances[max(within)] if within else None


def best_within(candidates: Sequence[Candidate], reference: Candidate, allowance: float) -> Candidate:
    """The first of `within`: the best value, which may be the reference itself."""
    return within(candidates, reference, allowance)[0]


def within(candidates: Sequence[Candidate], reference: Candidate, allowance: float) -> list[Candidate]:
    """The reference and all that may stand in for it, the best value first.

    The floor is the reference's quality, less ``allowance`` (0 to 1). Who clears it and costs no more than the reference may
    stand in for it. The best value is the highest quality, less `FULL_PRICE` × share of the reference's cost; of equals the
    cheaper, and the reference before others. An unknown price is not zero: such a candidate is never among them, and where
    the reference's own is unknown it stands alone.
    """
    if reference.cost_microusd is None:
        return [reference]
    most, unit = reference.cost_microusd, max(reference.cost_microusd, 1)
    floor = reference.quality - allowance
    others = ((one, one.cost_microusd) for one in candidates if one.model_id != reference.model_id)
    clear = [(one, cost) for one, cost in others if cost is not None and cost <= most and one.quality >= floor]

    def rank(row: tuple[Candidate, int]) -> tuple[float, int, bool, str]:
        one, cost = row
        return FULL_PRICE * cost / unit - one.quality, cost, one is not reference, one.model_id

    return [one for one, _ in sorted([(reference, most), *clear], key=rank)]


def safe_allowance(
    losses: Mapping[float, Sequence[float]],
    *,
    max_loss: float,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> float | None:
    """The largest allowance whose mean loss is below ``max_loss`` with this confidence; ``None`` where no allowance is.

    ``losses`` holds for each allowance the quality of the reference − that of the chosen model (−1 to 1) on prompts that the
    predictions did not see. They are tested from the smallest on, up to the first that fails, so that the confidence holds
    for the one that is returned, however many there are.
    """
    passed: float | None = None
    for allowance in sorted(losses):
        if loss_p_value(losses[allowance], max_loss, confidence=confidence, seed=seed) > 1 - confidence:
            return passed
        passed = allowance
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
    kept = f"{policy.name} is measured better: {spoken}, at equal cost or less"
    given_up = f"{policy.name} is not measured better ({spoken}, at equal cost): {rival.name} is taken for all"
    return Verdict(
        chosen=policy.name if wins else rival.name,
        outcome="policy" if wins else "fixed",
        rival=rival.name,
        gain=gain,
        lowest=lowest,
        highest=highest,
        reason=kept if wins else given_up,
    )


def _paired(policy: Measured, rival: Measured, confidence: float, seed: int) -> tuple[float, float, float]:
    """Mean difference in quality, and its bootstrap interval."""
    import numpy as np  # noqa: PLC0415 - the server starts without numpy

    gains = np.array(policy.qualities, float) - np.array(rival.qualities, float)
    draws = np.random.default_rng(seed)
    means = [gains[draws.integers(0, len(gains), len(gains))].mean() for _ in range(_BOOTSTRAP_ROUNDS)]
    lowest, highest = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(gains.mean()), float(lowest), float(highest)


def _mean_cost(measured: Measured) -> float:
    return measured.cost
