"""Patterns over the whole pipeline: real router, engine and store; what is scripted is the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from routing.budgets import Wallet
from routing.catalog import CatalogSource
from routing.errors import BudgetExceeded, DeadlineExceeded, InvalidTask, PatternStopped, ProviderUnavailable
from routing.patterns import Patterns, parse
from routing.patterns.chain import filled
from routing.types import Constraints, ModelRequest, ModelResponse, OnText, RouteRecord, Target, Task
from tests.builders import catalog, model
from tests.fakes import FakeProvider, Heard, reply
from tests.test_router import FixedCatalog, House, house

pytestmark = pytest.mark.anyio

FRONTIER = model("acme/frontier", tier=1, prices={"input": 10, "output": 50})
SECOND = model("zeta/second", provider="zeta", tier=1, prices={"input": 12, "output": 60})
CHEAP = model("acme/cheap", tier=4, prices={"input": 1, "output": 2})
MODELS = (CHEAP, FRONTIER, SECOND)
ROLES: dict[str, Any] = {
    "planner": {"strongest": 1, "weakest": 1},
    "evaluator": {"strongest": 1, "weakest": 1},
    "synthesizer": {"strongest": 2, "weakest": 3},
    "worker": {"strongest": 3, "weakest": 4},
}
TASK = Task(prompt="Compare rust and go for a small web service.")
DOWN = ProviderUnavailable("busy", provider="acme", model_id="acme/cheap")
Answering = Callable[[str], str | Exception | None]


@dataclass(slots=True)
class Scripted(FakeProvider):
    """Answers by what it is asked; ``None`` hangs, an exception is raised."""

    answering: Answering = field(default=lambda prompt: f"<{prompt}>")

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        answer = self.answering(request.messages[-1].content)
        self.scripts = {target.model_id: reply(answer) if isinstance(answer, str) else answer}
        return await FakeProvider.send(self, request, target, on_text)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(model_id, request.messages[-1].content) for model_id, request in self.requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    it: House
    patterns: Patterns
    provider: Scripted
    heard: Heard = field(default_factory=Heard)

    async def run(self, spec: dict[str, object], task: Task = TASK, **constraints: Any) -> RouteRecord:
        task = replace(task, constraints=replace(task.constraints, **constraints))
        return await self.patterns.run(parse(spec), task, self.heard)

    async def booked(self) -> tuple[RouteRecord, list[RouteRecord]]:
        """The parent and its steps as the ledger has them, in the order in which they began."""
        routes = sorted(await self.it.store.ledger.recent("local", 100), key=lambda route: route.started_at)
        [parent] = [route for route in routes if route.parent_id is None]
        return parent, [route for route in routes if route.parent_id == parent.route_id]


@asynccontextmanager
async def site(tmp_path: Path, answering: Answering, **wallet: Any) -> AsyncGenerator[Site]:
    provider = Scripted(answering=answering)
    async with house(tmp_path, provider, MODELS) as it:
        source = cast("CatalogSource", FixedCatalog(catalog(*MODELS, roles=ROLES)))
        it.router = replace(it.router, catalog=source, wallet=Wallet(store=it.store.budgets, **wallet))
        yield Site(it=it, patterns=Patterns(router=it.router), provider=provider)


def chain(*steps: object) -> dict[str, object]:
    return {"kind": "chain", "steps": [{"prompt": step} if isinstance(step, str) else step for step in steps]}


async def test_a_chain_hands_each_answer_to_the_next_step(tmp_path: Path) -> None:
    async with site(tmp_path, {"Outline: " + TASK.prompt: "A, B", "Write A, B": "text", "Cut\n\ntext": "short"}.__getitem__) as one:
        record = await one.run(chain("Outline: {input}", "Write {previous}", "Cut"))
        parent, steps = await one.booked()

    assert (record.text, record.outcome, record.is_partial) == ("short", "completed", False)
    assert [(step.name, step.status, step.text) for step in record.steps] == [
        ("step 1", "completed", "A, B"),
        ("step 2", "completed", "text"),
        ("step 3", "completed", "short"),
    ]
    assert parent.attempts == ()
    assert parent.cost_microusd == 0
    assert record.cost_microusd == sum(step.cost_microusd or 0 for step in steps) > 0
