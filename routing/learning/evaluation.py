"""Held-out figures: RouteLLM's measure for pairs, cost and quality for many models, bootstrap intervals.

RouteLLM (arXiv 2406.18665): thresholds are the 11 edges of the score's deciles; a prompt goes to the strong model when its
score is at least the edge (above it for the last). x is the share of strong calls, y the mean quality.
APGR = (∫y − ∫weak) / (∫strong − ∫weak), by trapezoids. CPT(p) is the x at which y first reaches weak + p·(strong − weak).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.learning.outcomes import Outcome
from routing.learning.policy import FULL_PRICE, Measured

Floats = NDArray[np.float64]

_DECILES = np.linspace(0, 1, 11)
_JITTER = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure and its 95 % bootstrap interval."""

    value: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lowest:.3f}, {self.highest:.3f}]"


def curve(scores: Floats, weak: Floats, strong: Floats, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Shares of strong calls, ascending, and the mean quality at each; ties are broken by a jitter of the seed's."""
    spread = max(float(np.ptp(scores)), 1.0)
    jittered = scores + np.random.default_rng(seed).uniform(-_JITTER, _JITTER, len(scores)) * spread
    edges = np.quantile(jittered, _DECILES)
    called = [jittered >= edge for edge in edges[:-1]] + [jittered > edges[-1]]
    shares = np.array([chosen.mean() for chosen in called])
    quality = np.array([np.where(chosen, strong, weak).mean() for chosen in called])
    return shares[::-1], quality[::-1]


def apgr(scores: Floats, weak: Floats, strong: Floats, *, seed: int = 0) -> float:
    """Average performance gap recovered: 0.5 is chance, 0 and 1 are always weak and always strong."""
    shares, quality = curve(scores, weak, strong, seed=seed)
    area = float(np.sum((quality[1:] + quality[:-1]) / 2 * np.diff(shares)))
    return (area - float(weak.mean())) / float(strong.mean() - weak.mean())


def cpt(scores: Floats, weak: Floats, strong: Floats, recovered: float, *, seed: int = 0) -> float:
    """Call-performance threshold: the share of strong calls at which ``recovered`` (0 to 1) of the gap is first reached."""
    shares, quality = curve(scores, weak, strong, seed=seed)
    wanted = float(weak.mean() + recovered * (strong.mean() - weak.mean()))
    for place in range(1, len(shares)):
        before, after = quality[place - 1], quality[place]
        if after >= wanted:
            part = (wanted - before) / (after - before) if after > before else 0.0
            return float(shares[place - 1] + max(part, 0.0) * (shares[place] - shares[place - 1]))
    return 1.0


def with_interval(
    measure: Callable[[NDArray[np.int64]], float], prompts: int, *, rounds: int = 400, seed: int = 0
) -> Figure:
    """``measure`` of all prompts (it is given their indices), and its interval over prompts drawn with replacement."""
    draws = np.random.default_rng(seed)
    values = [measure(draws.integers(0, prompts, prompts)) for _ in range(rounds)]
    lowest, highest = np.quantile(values, [0.025, 0.975])
    return Figure(value=measure(np.arange(prompts)), lowest=float(lowest), highest=float(highest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Held-out outcomes of several models: predicted and true quality, and cost; all (prompts, models)."""

    models: Sequence[str]
    predicted: Floats
    quality: Floats
    cost: NDArray[np.int64]

    def part(self, rows: NDArray[np.int64]) -> Panel:
        """The same for some of the prompts."""
        return Panel(
            models=self.models, predicted=self.predicted[rows], quality=self.quality[rows], cost=self.cost[rows]
        )

    def fixed(self) -> list[Measured]:
        """What each model earns and costs if it answers everything."""
        return [self.measured(name, np.full(len(self.quality), place)) for place, name in enumerate(self.models)]

    def measured(self, name: str, chosen: NDArray[np.int64]) -> Measured:
        """What a choice of model for each prompt earns and costs."""
        rows = np.arange(len(chosen))
        return Measured(
            name=name, qualities=self.quality[rows, chosen].tolist(), costs=self.cost[rows, chosen].tolist()
        )

    def best_fixed(self) -> int:
        """The place of the model that answers best, if it answers everything."""
        return int(self.quality.mean(axis=0).argmax())

    def within(self, reference: int, allowance: float) -> NDArray[np.int64]:
        """The choice of `routing.learning.policy.best_within` for each prompt, up to ties."""
        own = self.cost[:, [reference]]
        clear = (self.predicted >= self.predicted[:, [reference]] - allowance) & (self.cost <= own)
        value: Floats = self.predicted - FULL_PRICE * self.cost / np.maximum(own, 1)
        return np.asarray(np.where(clear, value, -np.inf).argmax(axis=1), np.int64)

    def losses(self, reference: int, allowance: float) -> list[float]:
        """By how much each choice is worse than the reference."""
        rows = np.arange(len(self.quality))
        lost: Floats = self.quality[:, reference] - self.quality[rows, self.within(reference, allowance)]
        return [float(loss) for loss in lost]


def panel_of(outcomes: Sequence[Outcome], models: Sequence[str], predicted: Floats) -> Panel:
    """What these models earned and cost on these prompts, all of which they answered at known costs, and the predictions."""
    return Panel(
        models=models,
        predicted=predicted,
        quality=np.array([[outcome.scores[model] for model in models] for outcome in outcomes]),
        cost=np.array([[outcome.costs[model] for model in models] for outcome in outcomes], np.int64),
    )
