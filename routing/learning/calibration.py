"""How much the choice by predictions may be allowed to lose: tested on predictions for prompts that they did not see.

    panel_prompts(outcomes, learned)   the largest set of prompts that the same models answered, at known costs
    calibrated(panel)                  the allowances that passed the test, and the guard's verdict

The table is made with the cross-fitted predictions of `routing.learning.train`; `bench/routing.py` checks it on one half of
the prompts with allowances of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from routing.learning.abilities import canonical
from routing.learning.evaluation import Panel
from routing.learning.outcomes import Outcome
from routing.learning.policy import Calibration, guard, safe_allowance

MAX_LOSSES = (0.0, 0.01, 0.02, 0.05)
"""The losses of mean quality for which an allowance is looked for."""

ALLOWANCES = tuple(step / 200 for step in range(41))
"""The sequence that is tested, from the most careful on: half a point to a fifth.

It ends where a panel says nothing any more: on one whose cheap models are fair, any larger allowance passes too, and would
let a registry with a free and hopeless model send too much there.
"""

FEWEST_PROMPTS = 300
FEWEST_MODELS = 3
_USUAL_LOSS = 0.02
_POLICY = "the choice by predicted quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelPrompts:
    """Which outcomes (by their places) make a panel, and the models, in order, that all of them share at known costs."""

    rows: tuple[int, ...]
    models: tuple[str, ...]

    @property
    def lack(self) -> str | None:
        """Why nothing can be calibrated on it, if it is so."""
        if len(self.rows) >= FEWEST_PROMPTS:
            return None
        return (
            f"{len(self.rows)} prompts were answered by the same {FEWEST_MODELS} models or more at known costs, "
            f"{FEWEST_PROMPTS} are needed"
        )


def panel_prompts(outcomes: Sequence[Outcome], learned: Collection[str]) -> PanelPrompts:
    """The most prompts that at least `FEWEST_MODELS` models answered, all at known costs; of equally many, the most models.

    ``learned`` are the canonical names of the models for which there are predictions. Of prompts that differ in spelling only
    one counts: the others would tell nothing new, and the test takes each for a draw of its own.
    """
    answered = {
        outcome.key: (row, models)
        for row, outcome in enumerate(outcomes)
        if len(models := _priced_models(outcome, learned)) >= FEWEST_MODELS
    }
    found: list[PanelPrompts] = []
    for models in {models for _, models in answered.values()}:
        rows = tuple(row for row, those in answered.values() if models <= those)
        found.append(PanelPrompts(rows=rows, models=tuple(sorted(models))))
    return max(found, key=lambda one: (len(one.rows), len(one.models), one.models), default=_NONE)


def _priced_models(outcome: Outcome, learned: Collection[str]) -> frozenset[str]:
    return frozenset(model for model in outcome.scores if model in outcome.costs and canonical(model) in learned)


_NONE = PanelPrompts(rows=(), models=())


def calibrated(panel: Panel, *, seed: int) -> Calibration:
    """Test every allowance beside the best fixed model, and ask the guard about the choice that `_USUAL_LOSS` allows."""
    reference = panel.best_fixed()
    losses = {allowance: panel.losses(reference, allowance) for allowance in ALLOWANCES}
    tested = {loss: safe_allowance(losses, max_loss=loss, seed=seed) for loss in MAX_LOSSES}
    allowances = {loss: allowance for loss, allowance in tested.items() if allowance is not None}
    usual = tested[_USUAL_LOSS] or 0.0
    return Calibration(
        allowances=allowances,
        verdict=guard(panel.measured(_POLICY, panel.within(reference, usual)), panel.fixed(), seed=seed),
        prompts=len(panel.quality),
        models=tuple(panel.models),
    )
