"""What the router does where it is uncertain what kind of task it has: real stages, a fake provider at the end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from routing.analyzer.model_backed import SecondOpinion
from routing.budgets import Quote, Wallet
from routing.catalog import CatalogSource
from routing.errors import ProviderUnavailable
from routing.selector import Selector
from routing.types import Constraints, ModelResponse, SensitivePolicy, Task, TaskAnalysis
from tests.builders import analysis, catalog, model, provider
from tests.fakes import FakeProvider, reply
from tests.test_router import CHEAP, DEAR, FixedCatalog, House, house

pytestmark = pytest.mark.anyio

ANALYST = model("acme/tiny", tier=4, prices={"input": 1, "output": 1})
LARGE = DEAR.model_copy(update={"tier": 1})
VERDICT = {"category": "deep_reasoning", "complexity": 4, "needs_tools": False, "output_tokens": 700}


def saying(text: str) -> ModelResponse:
    return replace(reply(), text=text)


class Unsure:
    """An analyzer that is never sure."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts

    @property
    def notices(self) -> tuple[str, ...]:
        return ("The weights are damaged.",)

    async def analyze(self, task: Task) -> TaskAnalysis:
        return analysis(**{"confidence": 0.3, **self.facts})


@asynccontextmanager
async def unsure(
    tmp_path: Path, answer: ModelResponse | Exception | None, *, policy: SensitivePolicy = "allow", **facts: Any
) -> AsyncGenerator[House]:
    scripts = {"acme/tiny": answer}
    async with house(tmp_path, FakeProvider(scripts), (CHEAP, LARGE, ANALYST)) as it:
        it.router = replace(
            it.router,
            analyzer=Unsure(**facts),
            second_opinion=SecondOpinion(threshold=0.7, patience_seconds=0.05),
            selector=Selector(confidence_threshold=0.7, sensitive=policy),
        )
        yield it


def asked(it: House) -> list[str]:
    return [model_id for model_id, _ in it.provider.requests]


async def test_a_cheap_model_is_asked_and_what_it_says_is_routed_on(tmp_path: Path) -> None:
    async with unsure(tmp_path, saying(json.dumps(VERDICT))) as it:
        record = await it.ask()
    assert asked(it)[0] == "acme/tiny"
    assert record.analysis is not None
    assert (record.analysis.category, record.analysis.analyzer) == ("deep_reasoning", "model")
    assert record.text == "Paris."


async def test_what_it_cost_is_booked_and_no_part_of_the_baseline(tmp_path: Path) -> None:
    async with unsure(tmp_path, saying(json.dumps(VERDICT))) as it:
        record = await it.ask()
    first, second = record.attempts
    assert (first.model_id, second.model_id) == ("acme/tiny", "acme/cheap")
    assert record.cost_microusd == (first.cost_microusd or 0) + (second.cost_microusd or 0)
    assert record.baseline_cost_microusd == 20 * 10 + 5 * 50


@pytest.mark.parametrize(
    "answer", [ProviderUnavailable("busy", provider="acme", model_id="acme/tiny"), saying("Hm."), None]
)
async def test_one_that_fails_or_hangs_fails_no_task(tmp_path: Path, answer: ModelResponse | Exception | None) -> None:
    async with unsure(tmp_path, answer) as it:
        record = await it.ask(constraints=Constraints(deadline_seconds=30))
    assert record.outcome == "completed"
    assert record.text == "Paris."
    assert any("no usable answer" in notice for notice in record.notices)


async def test_what_the_analyzer_has_to_say_reaches_the_caller(tmp_path: Path) -> None:
    async with unsure(tmp_path, saying("Hm.")) as it:
        assert "The weights are damaged." in (await it.ask()).notices


@pytest.mark.parametrize("spent", [0, 999_000])
async def test_nobody_is_asked_where_little_of_a_budget_is_left(tmp_path: Path, spent: int) -> None:
    async with unsure(tmp_path, saying(json.dumps(VERDICT))) as it:
        it.router = replace(it.router, wallet=Wallet(store=it.store.budgets, hour_microusd=1_000_000))
        purse = it.router.wallet.purse("local", "ses")
        assert purse is not None
        hold = await purse.reserve(Quote(what="x", input_microusd=0, most=spent, least=spent, output_tokens=1))
        purse.settle(hold, spent)
        record = await it.ask()
    assert record.outcome == "completed"
    assert ("acme/tiny" in asked(it)[:1]) == (spent == 0)


async def test_classifying_and_estimating_ask_nobody(tmp_path: Path) -> None:
    async with unsure(tmp_path, saying(json.dumps(VERDICT))) as it:
        decision = await it.router.decide(Task(prompt="What is the capital of France?"))
    assert asked(it) == []
    assert decision.analysis.category == "qa_retrieval"


async def test_a_secret_that_must_stay_here_is_shown_to_no_analyst_elsewhere(tmp_path: Path) -> None:
    ours = model("home/small", provider="home", prices={"input": 1, "output": 1}, self_hosted=True)
    rows = catalog(CHEAP, ANALYST, ours, providers={"home": provider(self_hosted=True)})
    async with unsure(tmp_path, saying(json.dumps(VERDICT)), policy="local_only", sensitive=True) as it:
        it.router = replace(it.router, catalog=cast("CatalogSource", FixedCatalog(rows)))
        record = await it.ask()
    assert asked(it) == ["home/small"]
    assert any("uncertain" in notice for notice in record.notices)
