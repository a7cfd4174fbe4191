from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from routing.errors import TrainingError
from routing.learning.outcomes import PAIR, Outcome, ledger_dataset, outcome_of, read_dataset
from routing.state.sqlite import SqliteStore
from routing.types import Category, RouteRecord
from tests.builders import analysis


def written(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


GOOD = {"prompt": "What is 2 + 2?", "task": "sums", "scores": {"small": 1, "large": 1}}


def test_every_file_of_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    written(tmp_path / "b" / "rows.jsonl.gz", GOOD)
    written(tmp_path / "a" / "rows.jsonl", {"prompt": "Why?", "weak": 0, "strong": 1})
    dataset = read_dataset(tmp_path)

    assert [outcome.source for outcome in dataset.outcomes] == ["a/prompts", "b/sums"]
    assert dataset.outcomes[0].scores == {PAIR[0]: 0, PAIR[1]: 1}
    assert [(file.name, file.rows) for file in dataset.files] == [("a/rows.jsonl", 1), ("b/rows.jsonl.gz", 1)]


def test_weak_and_strong_may_name_their_models() -> None:
    row = {"prompt": "Why?", "weak": 0, "strong": 1, "weak_model": "ours", "strong_model": "theirs"}

    assert outcome_of(row, where="row").scores == {"ours": 0, "theirs": 1}


PRICES = {"small": {"input_price": 0.1, "output_price": 0.2}, "unused": {"input_price": 1, "output_price": 1}}


def test_a_list_of_prices_beside_the_rows_tells_what_an_answer_costs(tmp_path: Path) -> None:
    written(tmp_path / "sums" / "rows.jsonl", GOOD | {"prompt": "x" * 4_000})
    (tmp_path / "sums" / "model_prices.json").write_text(json.dumps(PRICES))
    dataset = read_dataset(tmp_path)

    # 1,000 tokens at 0.1 and 200 at 0.2 dollars per million; the price of the large model is not known
    assert dataset.outcomes[0].costs == {"small": 140}
    assert [(file.name, file.rows) for file in dataset.files] == [("sums/model_prices.json", 0), ("sums/rows.jsonl", 1)]
    assert read_dataset(tmp_path / "sums" / "rows.jsonl").outcomes == dataset.outcomes


def test_the_costs_of_a_row_go_before_the_list_of_prices(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", GOOD | {"costs": {"small": 7, "large": 90}})
    (tmp_path / "model_prices.json").write_text(json.dumps(PRICES))

    assert read_dataset(path).outcomes[0].costs == {"small": 7, "large": 90}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an object"),
        ('{"small": 3}', "small: input_price is not a number"),
        ('{"small": {"input_price": 1}}', "small: output_price is not a number"),
        ('{"small": {"input_price": -1, "output_price": 1}}', "small: input_price is not a number from 0 up"),
    ],
)
def test_a_broken_list_of_prices_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    written(tmp_path / "rows.jsonl", GOOD)
    (tmp_path / "model_prices.json").write_text(text)

    with pytest.raises(TrainingError, match=rf"model_prices\.json.*{complaint}"):
        read_dataset(tmp_path)


def test_files_without_outcomes_or_without_texts_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path / "labels.jsonl", {"prompt": "Write a poem", "label": "text_generation"})
    written(tmp_path / "costs.jsonl", {"prompt": None, "scores": {"small": 1}})
    written(tmp_path / "rows.jsonl", GOOD)

    assert [file.rows for file in read_dataset(tmp_path).files] == [0, 0, 1]


def test_an_absent_folder_is_named_and_the_form_of_a_row_shown(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r'no training data at .*nowhere.*"scores"'):
        read_dataset(tmp_path / "nowhere")


def test_a_folder_without_outcomes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no outcome"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{", "line 2 is not JSON"),
        ([1], "line 2 is not a JSON object"),
        ({"scores": {"small": 1}}, 'line 2 has no text in "prompt"'),
        ({"prompt": " ", "scores": {"small": 1}}, 'line 2 has no text in "prompt"'),
        ({"prompt": "x"}, 'line 2 has neither "scores" nor "weak" and "strong"'),
        ({"prompt": "x", "weak": 1}, 'line 2 has neither "scores" nor "weak" and "strong"'),
        ({"prompt": "x", "scores": {}}, '"scores" is not an object'),
        ({"prompt": "x", "scores": [1]}, '"scores" is not an object'),
        ({"prompt": "x", "scores": {"small": "1"}}, "the score of small is not a number"),
        ({"prompt": "x", "scores": {"small": True}}, "the score of small is not a number"),
        ({"prompt": "x", "scores": {"small": 7}}, "the score of small is 7: scores go from 0 to 1"),
        (GOOD | {"costs": [1]}, '"costs" is not an object'),
        (GOOD | {"costs": {"small": "1"}}, "the cost of small is not a number from 0 up"),
        (GOOD | {"costs": {"small": -1}}, "the cost of small is not a number from 0 up"),
        ('{"prompt": "x", "scores": {"small": NaN}}', "the score of small is not a number"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, row: object, complaint: str) -> None:
    path = written(tmp_path / "rows.jsonl", GOOD, row)

    with pytest.raises(TrainingError, match=complaint) as failure:
        read_dataset(path)
    assert "rows.jsonl" in str(failure.value)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(b"not an archive")

    with pytest.raises(TrainingError, match=r"rows\.jsonl\.gz cannot be read"):
        read_dataset(tmp_path)


def test_spellings_of_one_prompt_have_one_key() -> None:
    keys = {Outcome(prompt=text, source="s", scores={}).key for text in ("What's  2+2?", "whats 2 2", "WHAT'S 2+2")}

    assert len(keys) == 1
    assert Outcome(prompt="What is 3+3?", source="s", scores={}).key not in keys


def answered(route_id: str, prompt: str | None, model: str | None, category: Category = "qa_retrieval") -> RouteRecord:
    return RouteRecord(
        route_id=route_id,
        caller="local",
        session_id="ses_1",
        started_at=1.0,
        latency_ms=1,
        outcome="completed",
        prompt_sha256="00",
        analysis=analysis(category=category),
        model_used=model,
        cost_microusd=7,
        prompt=prompt,
    )


@pytest.mark.anyio
async def test_the_ledgers_scored_answers_are_outcomes_where_their_prompts_were_kept(tmp_path: Path) -> None:
    routes = [
        answered("rte_1", "Why?", "acme/small"),
        answered("rte_2", "Why?", "acme/large"),
        answered("rte_3", None, "acme/small"),
        answered("rte_4", "Nobody scored me", "acme/small"),
        answered("rte_5", "Why?", "acme/small"),
        answered("rte_6", "Sort these", "acme/small", "classification"),
    ]
    async with SqliteStore(tmp_path / "state.db") as store:
        for route in routes:
            await store.ledger.record(route)
        for number, score in ((1, 0.0), (2, 1.0), (3, 0.5), (5, 0.25), (6, 0.75)):
            await store.feedback.record("local", f"rte_{number}", score)
        dataset = await ledger_dataset(store.reports, "local")

    why, sort = dataset.outcomes
    assert (why.prompt, why.source) == ("Why?", "ledger/qa_retrieval")
    assert why.scores == {"acme/small": 0.25, "acme/large": 1.0}  # asked again, the last score counts
    assert why.costs == {"acme/small": 7, "acme/large": 7}
    assert (sort.source, sort.scores) == ("ledger/classification", {"acme/small": 0.75})
    assert [(file.name, file.rows) for file in dataset.files] == [("ledger", 4)]
