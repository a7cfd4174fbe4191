from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from routing.learning.calibration import ALLOWANCES, FEWEST_PROMPTS, MAX_LOSSES, calibrated, panel_prompts
from routing.learning.evaluation import Panel
from routing.learning.outcomes import Dataset, Outcome
from routing.learning.policy import loss_p_value
from routing.learning.quality import CALIBRATION, QualityModel
from routing.learning.train import FOLDS, SEED, fold_of, train

MODELS = ("small", "other", "large")
COSTS: dict[str, int] = {"small": 10, "other": 20, "large": 100}


def outcomes(number: int) -> tuple[Outcome, ...]:
    """The small model knows birds, the other one engines, and the large one both; nobody knows one riddle in ten."""
    return tuple(
        Outcome(
            prompt=f"Tell me about {'birds' if place % 2 else 'engines'}, part {place} of tale {place * 7919 % 1009}",
            source="ledger/tales",
            scores={"small": float(place % 2), "other": float(not place % 2), "large": float(place % 10 != 3)},
            costs=COSTS,
        )
        for place in range(number)
    )


def trained(rows: Sequence[Outcome]) -> QualityModel:
    return train(Dataset(outcomes=tuple(rows), files=()), command="test", date="2026-11-21")


def panel(predicted: Sequence[float], quality: Sequence[float], prompts: int) -> Panel:
    """``prompts`` prompts on which every model is the same, and costs what it costs in `COSTS`."""
    return Panel(
        models=MODELS,
        predicted=np.tile(predicted, (prompts, 1)),
        quality=np.tile(quality, (prompts, 1)),
        cost=np.tile(list(COSTS.values()), (prompts, 1)),
    )


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return trained(outcomes(400))


def test_training_calibrates_what_a_choice_by_predictions_loses(model: QualityModel) -> None:
    calibration = model.calibration

    assert calibration is not None
    assert (calibration.prompts, calibration.models) == (400, ("large", "other", "small"))
    assert calibration.verdict.outcome == "policy"
    # whoever is sent birds or engines is known for a tenth or a fifth of the cost, and is right even more often
    assert calibration.allowance(0.05) is not None
    assert CALIBRATION not in model.manifest.left_out


def test_a_calibration_is_stored_with_the_weights(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)

    assert QualityModel.load(tmp_path).calibration == model.calibration


@pytest.mark.parametrize("lack", ["prompts", "costs", "models"])
def test_where_too_little_is_known_nothing_is_calibrated_and_the_manifest_says_why(lack: str, tmp_path: Path) -> None:
    rows = outcomes(FEWEST_PROMPTS - 1 if lack == "prompts" else FEWEST_PROMPTS)
    if lack == "costs":
        rows = tuple(replace(row, costs={"small": 1, "large": 2}) for row in rows)
    if lack == "models":
        rows = tuple(replace(row, scores={"small": row.scores["small"], "large": row.scores["large"]}) for row in rows)
    model = trained(rows)
    model.save(tmp_path)
    again = QualityModel.load(tmp_path)

    assert again.calibration is None
    assert f"{FEWEST_PROMPTS} are needed" in again.manifest.left_out[CALIBRATION]


def families() -> list[Outcome]:
    """Eighty subjects of five prompts each, those of one subject in one fold; a coin says which cheap model knows a subject."""
    coin = np.random.default_rng(5).random(80) < 0.5
    subjects = [f"{first}{second}" * 3 for first in "abcdefgh" for second in "qrstuvwxyz"]
    rows: list[Outcome] = []
    for place, (subject, heads) in enumerate(zip(subjects, coin, strict=True)):
        of_subject = (
            Outcome(
                prompt=f"Tell me about {subject}, part {part}",
                source="ledger/coins",
                scores={"small": float(heads), "other": float(not heads), "large": float(part % 2)},
                costs=COSTS,
            )
            for part in count()
        )
        rows += islice((one for one in of_subject if fold_of(one, SEED) == place % FOLDS), 5)
    return rows


def test_predictions_are_tested_on_prompts_that_they_did_not_see() -> None:
    # whoever has seen a subject knows its coin, and would be right every time
    calibration = trained(families()).calibration

    assert calibration is not None
    assert calibration.allowances == {}
    assert calibration.verdict.outcome == "fixed"


def test_the_panel_is_the_largest_set_of_prompts_with_models_in_common() -> None:
    rows = outcomes(10)
    rare = Outcome(
        prompt="", source="ledger/rare", scores=dict.fromkeys(("rare", *MODELS), 1.0), costs=COSTS | {"rare": 1}
    )
    few = [replace(rare, prompt=f"Tell me about bird number {place}") for place in range(4)]
    free = replace(rows[0], prompt="nobody knows what this cost", costs={})
    found = panel_prompts([*rows, *few, free], {*MODELS, "rare"})

    assert found.rows == tuple(range(14))
    assert found.models == ("large", "other", "small")
    assert panel_prompts(few, {*MODELS, "rare"}).models == ("large", "other", "rare", "small")


def test_of_spellings_of_one_prompt_one_counts() -> None:
    rows = [replace(row, prompt=f"Tell me{' ' * place} more") for place, row in enumerate(outcomes(10))]

    assert len(panel_prompts(rows, set(MODELS)).rows) == 1


def test_models_without_predictions_are_no_part_of_the_panel() -> None:
    assert panel_prompts(outcomes(10), {"small", "large"}).rows == ()


def test_the_allowance_grows_with_the_loss_that_is_accepted() -> None:
    # the small model is predicted 9.8 points worse, and is 3: from an allowance of 0.1 on it is taken
    calibration = calibrated(panel((0.502, 0.1, 0.6), (0.57, 0.1, 0.6), 2_000), seed=1)

    assert calibration.allowances == {0.01: 0.095, 0.02: 0.095, 0.05: max(ALLOWANCES)}
    assert set(calibration.allowances) <= set(MAX_LOSSES)


def test_the_guard_judges_the_choice_and_not_the_predictions() -> None:
    # the small model is thought as good as the large one and is far worse, so that no allowance passes
    calibration = calibrated(panel((0.6, 0.1, 0.6), (0.3, 0.5, 0.6), 400), seed=1)

    assert calibration.allowances == {}
    assert calibration.verdict.outcome == "fixed"
    assert loss_p_value([0.3] * 400, max(MAX_LOSSES)) > 0.05
