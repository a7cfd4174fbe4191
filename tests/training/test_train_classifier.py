"""What a training on all prompts takes over from one that left some out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routing.analyzer.learned import MANIFEST, WEIGHTS
from training.labelled import BadPrompts
from training.train_classifier import (
    _ALL,  # pyright: ignore[reportPrivateUsage]
    _ALL_BUT,  # pyright: ignore[reportPrivateUsage]
    FIGURES,
    _told_by,  # pyright: ignore[reportPrivateUsage]
)

FACTS: dict[str, object] = {"prompts": {"en.jsonl": "abc"}, "plan": {"seed": 7}}


def told(folder: Path, **changes: Any) -> None:
    manifest = {**FACTS, "trained_on": _ALL_BUT, "temperature": 0.9, "held_out": {"category": 1}, **changes}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def test_temperature_and_figures_are_those_of_the_training_that_left_some_out(tmp_path: Path) -> None:
    told(tmp_path)
    assert _told_by(tmp_path, FACTS) == (0.9, {"held_out": {"category": 1}})


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"plan": {"seed": 8}}, "plan"), ({"prompts": {}}, "prompts"), ({"trained_on": _ALL}, "on all")],
)
def test_figures_of_other_prompts_of_another_plan_or_of_nothing_left_out_are_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    told(tmp_path, **changes)
    with pytest.raises(BadPrompts, match=named):
        _told_by(tmp_path, FACTS)


def test_the_shipped_manifest_says_what_it_was_trained_on_and_how_well_it_does() -> None:
    manifest = json.loads((WEIGHTS / MANIFEST).read_text("utf-8"))
    assert manifest["trained_on"] in {_ALL, _ALL_BUT}
    assert set(FIGURES) <= set(manifest)
