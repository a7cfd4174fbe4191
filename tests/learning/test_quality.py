from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from routing.errors import AssetError, InvalidTask, TrainingError
from routing.learning.abilities import canonical, fit_scale
from routing.learning.outcomes import PAIR, Dataset, Outcome, read_dataset
from routing.learning.quality import MANIFEST_FILE, SHIPPED, WEIGHTS_FILE, QualityModel
from routing.learning.stand_ins import WRITTEN_PROMPTS, prompt_files
from routing.learning.train import FEWEST_OUTCOMES, LABELLED_PROMPTS, score_lines, train

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 12_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    model_id: str
    tier: int
    quality_index: float | None = None


def outcomes(count: int = 240) -> tuple[Outcome, ...]:
    """The large model answers everything, the small one only what is about birds; both fail at riddles."""
    subjects = ("birds", "engines", "riddles")
    return tuple(
        Outcome(
            prompt=f"Tell me about {subjects[place % 3]}, part {place} of a long tale {chr(97 + place % 26) * 4}",
            source="ledger/tales",
            scores={"small": float(place % 3 == 0), "large": float(place % 3 != 2)},
        )
        for place in range(count)
    )


def trained(rows: tuple[Outcome, ...]) -> QualityModel:
    return train(Dataset(outcomes=rows, files=()), command="test", date="2026-11-21")


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return trained(outcomes())


@pytest.fixture(scope="module")
def shipped() -> QualityModel:
    return QualityModel.load()


def test_what_was_learned_shows_on_prompts_that_were_not_seen(model: QualityModel) -> None:
    birds, engines = "Tell me about birds today", "Tell me about engines today"

    assert model.probability(birds, "small") > 0.7
    assert model.probability(engines, "small") < 0.3
    assert model.probability(engines, "large") > 0.7
    assert model.score(engines, "small", "large") > 0.4 > model.score(birds, "small", "large")


def test_a_model_without_outcomes_is_placed_by_its_facts(model: QualityModel) -> None:
    prompt = "Tell me about engines"
    by_tier = [model.probability(prompt, Row(model_id=f"new/{tier}", tier=tier)) for tier in (1, 2, 3, 4)]
    measured = [
        model.probability(prompt, Row(model_id="new/x", tier=3, quality_index=index)) for index in (60, 66.5, 72)
    ]

    assert by_tier == sorted(by_tier, reverse=True)
    assert by_tier[0] > by_tier[3]
    assert measured == sorted(measured)
    assert measured[0] < by_tier[2] < measured[2]


def test_a_name_that_nobody_knows_is_an_error_that_says_what_to_do(model: QualityModel) -> None:
    assert not model.knows("nobody")
    with pytest.raises(AssetError, match=r"no outcomes of nobody: .*large, small"):
        model.probability("Hello", "nobody")


def test_a_stored_model_predicts_the_same(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    prompts = ["Tell me about birds", "Something else\nA. yes\nB. no", ""]
    again = QualityModel.load(tmp_path)

    assert np.allclose(
        again.probabilities(prompts, ["small", "large"]), model.probabilities(prompts, ["small", "large"])
    )
    assert again.manifest == model.manifest


def test_the_same_outcomes_in_any_order_give_the_same_bytes(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path / "one")
    trained(outcomes()[::-1]).save(tmp_path / "two")

    for name in (WEIGHTS_FILE, MANIFEST_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_one_prompt_and_many_get_the_same_figures(shipped: QualityModel) -> None:
    prompts = ["Prove it.", "Write a poem.", "Pick one.\nA. this\nB. that"]

    assert shipped.scores(prompts, *PAIR) == pytest.approx([shipped.score(prompt, *PAIR) for prompt in prompts])
    assert shipped.scores([], *PAIR) == []
    assert shipped.probabilities([], ["gpt-4o"]).shape == (0, 1)


@pytest.mark.parametrize("missing", [WEIGHTS_FILE, MANIFEST_FILE])
def test_weights_that_are_not_there_are_an_error(model: QualityModel, tmp_path: Path, missing: str) -> None:
    model.save(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(AssetError, match="no quality model can be read"):
        QualityModel.load(tmp_path)


def test_a_changed_byte_in_the_weights_is_an_error(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    content = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)

    with pytest.raises(AssetError, match="damaged"):
        QualityModel.load(tmp_path)


def test_the_weights_of_another_training_are_an_error(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    trained(outcomes(120)).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS_FILE, tmp_path / WEIGHTS_FILE)

    with pytest.raises(AssetError, match="not the file that the manifest names"):
        QualityModel.load(tmp_path)


def test_a_pair_learns_from_its_own_outcomes(tmp_path: Path) -> None:
    weak, strong = PAIR
    rows = tuple(
        Outcome(
            prompt=f"Is part {place} of the {subject} tale true?\nA. yes\nB. no",
            source="ledger/choices",
            scores={weak: float(subject == "bird"), strong: 1.0 if place else 0.0},
        )
        for place in range(60)
        for subject in ("bird", "engine")
    )
    model = train(Dataset(outcomes=rows, files=()), command="test", date="", labelled=tmp_path)
    bird, engine = (f"Is the {subject} tale true?\nA. yes\nB. no" for subject in ("bird", "engine"))

    assert model.score(engine, weak, strong) > model.score(bird, weak, strong) + 0.2
    assert [str(file["name"]) for file in model.manifest.data] == ["learning/written_prompts.jsonl"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}'])
def test_a_broken_manifest_is_an_error(model: QualityModel, tmp_path: Path, text: str) -> None:
    model.save(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text(text)

    with pytest.raises(AssetError, match="quality model"):
        QualityModel.load(tmp_path)


def test_the_weights_of_an_older_version_are_refused(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    document = json.loads((tmp_path / MANIFEST_FILE).read_text())
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(document | {"format": 1}))

    with pytest.raises(AssetError, match=r"has format 1, this version reads format 2.*server.py train"):
        QualityModel.load(tmp_path)


def test_weights_that_lack_a_part_are_an_error(model: QualityModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    np.savez(tmp_path / WEIGHTS_FILE, nothing=np.zeros(1))
    document = json.loads((tmp_path / MANIFEST_FILE).read_text())
    document["weights"]["sha256"] = hashlib.sha256((tmp_path / WEIGHTS_FILE).read_bytes()).hexdigest()
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(document))

    with pytest.raises(AssetError, match="damaged"):
        QualityModel.load(tmp_path)


def test_too_few_rows_say_how_many_are_needed() -> None:
    with pytest.raises(TrainingError, match=f"needs {FEWEST_OUTCOMES} prompts at least"):
        trained(outcomes(FEWEST_OUTCOMES - 1))


def test_spellings_of_one_prompt_are_no_rows_more() -> None:
    rows = tuple(replace(outcomes()[place % 3], prompt=f"Tell me{' ' * place} more") for place in range(240))

    with pytest.raises(TrainingError, match=f"1 different prompts, {FEWEST_OUTCOMES} are needed"):
        trained(rows)


def test_one_class_only_is_an_error() -> None:
    rows = tuple(replace(outcome, scores={"small": 1.0}) for outcome in outcomes())

    with pytest.raises(TrainingError, match="one class only"):
        trained(rows)


def test_a_model_with_too_little_is_left_out_and_named_while_others_are_learned() -> None:
    rows = tuple(
        replace(outcome, scores={**outcome.scores, "rare": 1.0}) if place < 5 else outcome
        for place, outcome in enumerate(outcomes())
    )
    model = trained(rows)

    assert model.manifest.left_out["rare"] == f"5 different prompts, {FEWEST_OUTCOMES} are needed"
    assert model.knows("small")
    assert not model.knows("rare")


def test_training_from_files_writes_what_it_was_trained_on(tmp_path: Path) -> None:
    data = tmp_path / "data" / "rows.jsonl"
    data.parent.mkdir()
    rows = [json.dumps({"prompt": one.prompt, "scores": dict(one.scores)}) for one in outcomes()]
    data.write_text("\n".join(rows))
    model = train(read_dataset(tmp_path / "data"), command="server.py train", date="2026-11-21")
    model.save(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / MANIFEST_FILE).read_text())

    assert manifest["data"] == [
        {"name": "rows.jsonl", "sha256": hashlib.sha256(data.read_bytes()).hexdigest(), "rows": 240}
    ]
    assert (manifest["command"], manifest["date"]) == ("server.py train", "2026-11-21")


def test_lines_of_prompts_become_lines_of_scores_in_order(shipped: QualityModel) -> None:
    prompts = ["Write a poem.", "Prove that the sum is even."]
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
    found = [json.loads(line)["score"] for line in score_lines(shipped, [lines[0], "\n", lines[1]], *PAIR)]

    assert found == pytest.approx(shipped.scores(prompts, *PAIR), abs=1e-7)


@pytest.mark.parametrize("line", ["{", '"text"', "{}", '{"prompt": 3}'])
def test_a_bad_line_is_named_by_its_number(shipped: QualityModel, line: str) -> None:
    lines = ['{"prompt": "fine"}', line]

    with pytest.raises(InvalidTask, match="line 2 is not"):
        list(score_lines(shipped, lines, *PAIR))


def test_the_shipped_pair_prefers_the_strong_model_for_proofs_and_programs_over_poems(shipped: QualityModel) -> None:
    hard = [
        "Prove that there are infinitely many primes of the form 4k + 3.",
        "Write a C function that detects a cycle in a linked list and explain its complexity.",
        "Three boxes are labelled wrongly. Deduce which holds the gold, step by step.",
    ]
    easy = [
        "Write a cheerful birthday poem for my uncle.",
        "Pretend you are a sleepy lion and tell me about your day.",
        "Describe the culture of the Vikings.",
    ]

    assert min(shipped.scores(hard, *PAIR)) > max(shipped.scores(easy, *PAIR))


def test_the_shipped_weights_are_small_and_know_their_origin(shipped: QualityModel) -> None:
    files = {str(file["name"]): file for file in shipped.manifest.data}

    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= MOST_BYTES
    assert files["routellm_gold/mmlu_1500.jsonl.gz"]["rows"] == 1_500
    assert all(len(str(file["sha256"])) == 64 for file in files.values())


def test_the_shipped_weights_are_of_the_prompts_that_are_written_today(shipped: QualityModel) -> None:
    folders = (WRITTEN_PROMPTS.parent.name, LABELLED_PROMPTS.name)
    learned = [file for file in shipped.manifest.data if str(file["name"]).split("/")[0] in folders]

    assert learned == [asdict(file) for file in prompt_files(LABELLED_PROMPTS)], (
        f"train again: {shipped.manifest.command}"
    )


def test_the_shipped_weights_may_lose_two_points_and_the_guard_keeps_them(shipped: QualityModel) -> None:
    calibration = shipped.calibration

    assert calibration is not None
    assert calibration.prompts >= 5_000
    assert calibration.verdict.outcome == "policy"
    assert sorted(calibration.allowances.values()) == list(calibration.allowances.values())
    assert 0 < (calibration.allowance(0.02) or 0) < 0.3


def test_the_shipped_abilities_are_in_a_sensible_order(shipped: QualityModel) -> None:
    names = ("claude-3-5-sonnet", "gpt-4o-mini", "llama-3.1-8b-instruct", "mistral-7b-instruct-v0.2")
    abilities = [shipped.ability(name) for name in names]

    assert abilities == sorted(abilities, reverse=True)
    assert list(shipped.tiers) == sorted(shipped.tiers, reverse=True)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("openai/gpt-4o-2024-05-13", "gpt-4o"),
        ("Meta-Llama-3.1-405B-Instruct@hyperbolic", "llama-3.1-405b"),
        ("mixtral-8x7b-instruct", "mixtral-8x7b"),
        ("Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("Mistral-7B-Instruct-v0.2", "mistral-7b-v0.2"),
        ("chat", "chat"),
    ],
)
def test_one_model_has_one_name(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


def test_abilities_and_difficulties_meet_on_one_scale_across_data_sets() -> None:
    draws = np.random.default_rng(0)
    ability = {"strong": 2.0, "middling": 0.0, "weak": -2.0}
    hard = draws.normal(size=600)
    rows = [
        Outcome(
            prompt=str(place),
            source="s",
            scores={
                name: float(draws.random() < 1 / (1 + np.exp(hard[place] - ability[name])))
                for name in (("strong", "middling") if place < 300 else ("middling", "weak"))
            },
        )
        for place in range(600)
    ]
    found = fit_scale(rows).abilities

    assert found["strong"] > found["middling"] + 1
    assert found["middling"] > found["weak"] + 1


def test_importing_the_model_brings_no_numpy(tmp_path: Path) -> None:
    program = "import sys, routing.learning.quality, routing.learning.policy; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout == "False\n"


def test_the_model_needs_nothing_but_its_folder(shipped: QualityModel, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "elsewhere")

    assert QualityModel.load(tmp_path / "elsewhere").score("Hello", *PAIR) == shipped.score("Hello", *PAIR)
