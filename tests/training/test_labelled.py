"""Reading labelled prompts, good and bad."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from routing.types import CATEGORIES
from training.labelled import LEAST_OF_EACH, UNKNOWN, BadPrompts, read_prompts, rows_of, sampled

PROMPTS = Path(__file__).resolve().parents[2] / "training" / "prompts"
HELD_OUT = PROMPTS.parent / "held_out"


def row(prompt: str = "hi", **changes: Any) -> dict[str, Any]:
    facts = {"prompt": prompt, "category": "qa_retrieval", "complexity": 1, "tools": False, "output": "short"}
    return {**facts, **changes}


def written(folder: Path, rows: list[dict[str, Any]], name: str = "de.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def enough() -> list[dict[str, Any]]:
    return [
        row(f"{category} {number}", category=category) for category in CATEGORIES for number in range(LEAST_OF_EACH)
    ]


def test_the_projects_own_prompts_are_sound() -> None:
    prompts = read_prompts(PROMPTS.glob("*.jsonl"))
    assert len(prompts) > 3_000
    assert {"en", "es", "fr", "de", "pt", "it", "zh", "ja", "hi", "ar", "ru"} <= {one.language for one in prompts}


def test_language_and_group_come_from_the_file(tmp_path: Path) -> None:
    for name in ("extra-pt-2", "more-pt-2", "pt-2"):
        [one] = rows_of(written(tmp_path, [row(group="g1")], f"{name}.jsonl"))
        assert (one.language, one.group, one.source) == ("pt", "pt g1", name)


@pytest.mark.parametrize(
    "broken",
    [
        {"category": "poetry"},
        {"complexity": 6},
        {"complexity": 0},
        {"complexity": "hard"},
        {"output": "huge"},
        {"prompt": None},
        {"prompt": " "},
    ],
)
def test_a_wrong_label_is_named_with_file_and_line(tmp_path: Path, broken: dict[str, Any]) -> None:
    path = written(tmp_path, [row(), {**row("b"), **broken}])
    with pytest.raises(BadPrompts, match=r"de\.jsonl, line 2"):
        rows_of(path)


@pytest.mark.parametrize("missing", ["prompt", "category", "complexity", "tools", "output"])
def test_a_missing_field_is_named(tmp_path: Path, missing: str) -> None:
    one = row()
    del one[missing]
    with pytest.raises(BadPrompts, match=missing):
        rows_of(written(tmp_path, [one]))


def test_a_line_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "de.jsonl").write_text("{", "utf-8")
    with pytest.raises(BadPrompts, match="line 1"):
        rows_of(tmp_path / "de.jsonl")


def test_what_measures_the_weights_is_in_all_languages_and_was_not_trained_on() -> None:
    trained_on = {"".join(filter(str.isalnum, one.prompt.casefold())) for one in read_prompts(PROMPTS.glob("*.jsonl"))}
    held_out = [one for path in HELD_OUT.glob("*.jsonl") for one in rows_of(path)]

    assert not [one.prompt for one in held_out if "".join(filter(str.isalnum, one.prompt.casefold())) in trained_on]
    assert {one.language for one in held_out} == {"en", "es", "fr", "de", "pt", "it", "zh", "ja", "hi", "ar", "ru"}
    assert {one.category for one in held_out} == set(CATEGORIES)
    assert min(Counter(one.group for one in held_out).values()) == 3


def test_one_category_only_or_too_few_prompts_are_refused_with_how_many_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BadPrompts, match=f"at least {LEAST_OF_EACH}.*embedding has 0"):
        read_prompts([written(tmp_path, [row(str(number)) for number in range(100)])])


def test_a_prompt_that_stands_twice_counts_once(tmp_path: Path) -> None:
    assert len(read_prompts([written(tmp_path, [*enough(), *enough()])])) == len(enough())


def test_every_prompt_is_in_one_fold_and_paraphrases_in_the_same(tmp_path: Path) -> None:
    rows = [row(f"{number}", group=f"g{number // 2}") for number in range(200)]
    prompts = rows_of(written(tmp_path, rows))
    folds = [[fold for fold in range(5) if one.in_fold(fold, 5)] for one in prompts]
    assert all(len(fold) == 1 for fold in folds)
    assert folds[::2] == folds[1::2]
    assert len({fold for [fold] in folds}) == 5


def test_of_other_peoples_labels_so_many_of_each_kind_are_taken_and_the_same_each_time(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{number}", "label": "embedding", "source": "s", "raw_label": f"raw{number % 2}"}
        for number in range(20)
    ]
    for order, name in ((rows, "a.gz"), (rows[::-1], "b.gz")):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in order)
    taken = sampled(tmp_path / "a.gz", 3)
    assert [one.prompt for one in taken] == [one.prompt for one in sampled(tmp_path / "b.gz", 3)]
    assert sorted(one.source for one in taken) == ["s raw0"] * 3 + ["s raw1"] * 3
    assert {one.answers for one in taken} == {(CATEGORIES.index("embedding"), UNKNOWN, UNKNOWN, UNKNOWN)}
