"""The rules and the shipped weights together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from routing.analyzer import RulesAnalyzer
from routing.analyzer.cascade import CascadeAnalyzer, combined
from routing.analyzer.learned import WEIGHTS, LearnedClassifier, Understanding, load
from routing.analyzer.rules import classify
from routing.tokens import TokenCounter
from routing.types import CATEGORIES, AnalyzerMode, Category, Complexity, Constraints, Task, TaskAnalysis

pytestmark = pytest.mark.anyio

SPANISH = "Clasifica este ticket como facturación, técnico o ventas: «No puedo descargar mi factura de marzo»"


def cascade(mode: AnalyzerMode = "auto", folder: Path | None = None) -> CascadeAnalyzer:
    return CascadeAnalyzer(RulesAnalyzer(TokenCounter(Path("nowhere"))), mode=mode, threads=1, folder=folder)


async def by_rules(task: Task) -> TaskAnalysis:
    return await RulesAnalyzer(TokenCounter(Path("nowhere"))).analyze(task)


async def test_the_weights_decide_the_category_and_the_rules_the_rest() -> None:
    task = Task(prompt=f"{SPANISH}, y págalo al IBAN DE89 3704 0044 0532 0130 00")
    analysis, rules = await cascade().analyze(task), await by_rules(task)
    assert analysis.analyzer == "learned"
    assert analysis.category == "classification"
    for field in ("language", "sensitive", "pattern", "role", "tools_named", "estimated_input_tokens"):
        assert getattr(analysis, field) == getattr(rules, field)
    assert "holds" in analysis.reasoning


async def test_in_mode_rules_no_weights_are_wanted(tmp_path: Path) -> None:
    analyzer = cascade("rules", tmp_path / "none")
    assert await analyzer.analyze(Task(prompt=SPANISH)) == await by_rules(Task(prompt=SPANISH))
    assert analyzer.notices == ()


async def test_without_usable_weights_the_rules_take_over_and_say_so(tmp_path: Path) -> None:
    analyzer = cascade(folder=tmp_path / "none")
    assert await analyzer.analyze(Task(prompt=SPANISH)) == await by_rules(Task(prompt=SPANISH))
    assert "Rules alone" in analyzer.notices[0]


async def test_where_the_caller_names_the_model_no_weights_are_wanted(tmp_path: Path) -> None:
    task, analyzer = Task(prompt=SPANISH, constraints=Constraints(force_model="acme/large")), cascade(folder=tmp_path)
    assert await analyzer.analyze(task) == await by_rules(task)
    assert analyzer.notices == ()


async def test_while_the_weights_are_loading_the_rules_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def slow_loader(_: Path | None) -> Callable[..., LearnedClassifier]:
        loading.set()
        loaded.wait()
        return load

    monkeypatch.setattr("routing.analyzer.cascade._loader", slow_loader)
    analyzer = CascadeAnalyzer(RulesAnalyzer(TokenCounter(Path("nowhere"))), threads=1, patience_seconds=0.01)
    first = await analyzer.analyze(Task(prompt=SPANISH))
    assert await anyio.to_thread.run_sync(loading.wait, 10)
    loaded.set()
    assert first.analyzer == "rules"
    assert analyzer.notices == ()


async def test_damaged_weights_are_not_used(tmp_path: Path) -> None:
    for file in WEIGHTS.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "heads.npz").write_bytes(b"scrambled")
    analyzer = cascade(folder=tmp_path)
    assert (await analyzer.analyze(Task(prompt=SPANISH))).analyzer == "rules"
    assert "heads.npz is damaged" in analyzer.notices[0]


async def test_sound_weights_leave_no_notice() -> None:
    analyzer = cascade()
    await analyzer.analyze(Task(prompt=SPANISH))
    assert analyzer.notices == ()


async def test_texts_to_embed_need_no_weights() -> None:
    task = Task(prompt="Write a poem about these", texts=("a", "b"))
    assert await cascade().analyze(task) == await by_rules(task)


def misled(complexity: Complexity = 4) -> Understanding:
    """Weights that are sure of the wrong category."""
    sure: dict[Category, float] = {category: 0.93 if category == "embedding" else 0.01 for category in CATEGORIES}
    return Understanding(shares=sure, complexity=complexity, tools=0.0, output_tokens=100)


@pytest.mark.parametrize(("paragraphs", "category"), [(10, "embedding"), (400, "long_document")])
async def test_of_a_paste_longer_than_any_in_training_the_rules_know_better(paragraphs: int, category: str) -> None:
    paragraph = "The lessee shall keep the premises in good repair and give notice of every defect without delay. "
    task = Task(prompt=f"Compare the duties of both parties.\n\n{paragraph * paragraphs}")
    analysis = combined(task, await by_rules(task), classify(task.prompt), misled())
    assert analysis.category == category


async def test_a_greeting_is_never_hard_whatever_the_weights_say() -> None:
    task = Task(prompt="hello there!")
    assert combined(task, await by_rules(task), classify(task.prompt), misled(complexity=4)).complexity == 1


async def test_a_length_that_is_named_decides_the_output_tokens() -> None:
    analysis = await cascade().analyze(Task(prompt="Write an essay about rivers in 2000 words."))
    assert analysis.estimated_output_tokens == 2_700


async def test_the_callers_bound_on_output_is_kept() -> None:
    task = Task(prompt="Design a distributed ledger, in detail.", constraints=Constraints(max_tokens=77))
    assert (await cascade().analyze(task)).estimated_output_tokens == 77


async def test_a_text_given_back_is_as_long_as_it_was() -> None:
    page = "Der Fluss tritt im Frühling über die Ufer, und die Wiesen stehen unter Wasser. " * 200
    analysis = await cascade().analyze(Task(prompt=f"Translate into English:\n\n{page}"))
    assert analysis.category == "text_generation"
    assert analysis.estimated_output_tokens >= analysis.estimated_input_tokens


async def test_a_tool_that_is_named_is_needed_whatever_the_weights_say() -> None:
    analysis = await cascade().analyze(Task(prompt="Use execute_python and tell me what 2**10 is."))
    assert analysis.requires_tool_use


async def test_a_greeting_is_the_simplest_question() -> None:
    analysis = await cascade().analyze(Task(prompt="¡Hola, buenos días!"))
    assert (analysis.category, analysis.complexity, analysis.requires_tool_use) == ("qa_retrieval", 1, False)
