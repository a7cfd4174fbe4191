from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing.learning.outcomes import Outcome
from routing.learning.stand_ins import LEVELS, STAND_INS, gap, labelled_prompts, prompt_files, written_prompts


def outcome(scores: dict[str, float], source: str = "zeroeval/crux") -> Outcome:
    return Outcome(prompt="What does it print?", source=source, scores=scores)


def test_the_gap_is_that_of_the_stand_ins_that_were_tried() -> None:
    scores = {"Mixtral-8x7B-Instruct-v0.1": 0.2, "gpt-4-turbo-2024-04-09": 1.0, "gpt-4-0314": 0.5, "another": 0.0}

    assert gap(outcome(scores)) == pytest.approx(0.55)


def test_there_is_no_gap_where_one_side_or_the_source_is_missing() -> None:
    assert gap(outcome({"gpt-4-0314": 1.0})) is None
    assert gap(outcome({"gpt-4-0314": 1.0, "gpt-3.5-turbo-0125": 0.0}, source="elsewhere/tasks")) is None


def test_written_prompts_show_every_kind_that_no_outcome_shows() -> None:
    written = list(written_prompts())

    assert {one.kind for one in written} | {one.kind for one in STAND_INS.values()} == set(LEVELS)
    assert len({one.prompt for one in written}) == len(written)


def test_labelled_prompts_are_read_by_their_category(tmp_path: Path) -> None:
    rows = [{"prompt": "Prove it", "category": "deep_reasoning"}, {"prompt": "Book it", "category": "agentic_tool_use"}]
    (tmp_path / "en.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    assert [(one.kind, one.prompt) for one in labelled_prompts(tmp_path)] == [("reasoning", "Prove it")]
    assert [file.rows for file in prompt_files(tmp_path)][1:] == [2]


def test_without_the_folder_of_labelled_prompts_there_are_none(tmp_path: Path) -> None:
    assert list(labelled_prompts(tmp_path / "nowhere")) == []
