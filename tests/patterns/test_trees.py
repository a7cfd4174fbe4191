"""What holds for every tree of steps, whatever fails in it and whatever it costs."""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.budgets import Wallet
from routing.errors import ProviderUnavailable, RoutingError
from routing.state import Allowance
from routing.types import ModelRequest, RouteRecord, Task
from tests.patterns.test_patterns import Scripted, Site, site

DOWN = ProviderUnavailable("busy", provider="acme", model_id="acme/cheap")


def specs(size: int, merge: bool, choose: str) -> list[dict[str, Any]]:  # noqa: FBT001 - drawn
    """One of each form, of that size."""
    merged: dict[str, Any] = {"merge": "Merge"} if merge else {}
    gated: dict[str, Any] = {"prompt": "a", "gate": {"matches": "[13579]>"}}
    return [
        {"kind": "chain", "steps": [{"prompt": f"Step {step}"} for step in range(size)]},
        {"kind": "chain", "steps": [{"prompt": "b"}] * (size - 2) + [gated, {"prompt": "c"}]},
        {"kind": "sections", "sections": ["Part"] * size, **merged},
        {"kind": "best_of", "samples": size, "choose": choose},
        {"kind": "orchestrate", "subtasks": size},
        {"kind": "evaluate", "criteria": ["true"], "rounds": size},
    ]


SPECS = st.builds(specs, st.integers(2, 5), st.booleans(), st.sampled_from(["vote", "judge"])).flatmap(st.sampled_from)


@dataclass(slots=True)
class Dice:
    """What upstream does, by chance: fails, answers, sends nonsense; and what it bills, within what it was allowed."""

    seed: int
    faults: float
    answers: list[str] = field(default_factory=list[str])
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - a test's

    def answer(self, prompt: str) -> str | Exception:
        if self.chance.random() < self.faults:
            return DOWN
        said = self._said(prompt)
        self.answers.append(said)
        return said

    def _said(self, prompt: str) -> str:
        number = len(self.answers)
        if self.chance.random() < self.faults:
            return f"<nonsense {number}>"
        if prompt.startswith("Divide"):
            parts = range(1, self.chance.randint(1, 6))
            needs = [[self.chance.randint(0, part)] if self.chance.random() < 0.5 else [] for part in parts]
            return json.dumps({"subtasks": [{"task": f"part {number}", "needs": some} for some in needs]})
        if prompt.startswith("Judge"):
            return json.dumps({"score": self.chance.randint(-1, 11), "feedback": f"note {number}"})
        if prompt.startswith("Say which"):
            return json.dumps({"best": self.chance.randint(0, 5), "why": f"reason {number}"})
        return f"<answer {number}>"


class Upstream(Scripted):
    """Bills by chance, at most what a request allowed, and takes its time by chance."""

    dice: Dice

    def answering_with(self, dice: Dice) -> None:
        self.dice, self.answering, self.before = dice, dice.answer, self._pause

    async def _pause(self) -> None:
        for _ in range(self.dice.chance.randint(0, 3)):
            await anyio.lowlevel.checkpoint()

    def billed(self, request: ModelRequest) -> tuple[int, int]:
        return self.dice.chance.randint(0, 20), self.dice.chance.randint(1, request.max_output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """A house that stands for all examples."""

    portal: BlockingPortal = field(repr=False)
    one: Site = field(repr=False)

    def run(self, spec: dict[str, Any], task: Task, hour_microusd: int | None) -> RouteRecord | RoutingError:
        found: list[RouteRecord | RoutingError] = [self.portal.call(self._run, spec, task, hour_microusd)]
        return found[0]

    async def _run(self, spec: dict[str, Any], task: Task, hour_microusd: int | None) -> RouteRecord | RoutingError:
        wallet = Wallet(store=self.one.it.store.budgets, hour_microusd=hour_microusd)
        patterns = replace(self.one.patterns, router=replace(self.one.it.router, wallet=wallet))
        with anyio.fail_after(20):
            try:
                return await replace(self.one, patterns=patterns).run(spec, task)
            except RoutingError as refusal:
                return refusal

    def booked(self, caller: str) -> tuple[RouteRecord, tuple[RouteRecord, ...]]:
        routes = self.portal.call(self.one.it.store.ledger.recent, caller, 100)
        [parent] = [route for route in routes if route.parent_id is None]
        steps = tuple(route for route in routes if route.parent_id is not None)
        assert {step.parent_id for step in steps} <= {parent.route_id}
        return parent, steps

    def left(self, caller: str, hour_microusd: int) -> tuple[int, int]:
        allowance = Allowance(period="hour", cap_microusd=hour_microusd, subject=caller)
        self.portal.call(self.one.it.store.budgets.sweep)
        [standing] = self.portal.call(self.one.it.store.budgets.standings, [allowance])
        return standing.spent_microusd, standing.reserved_microusd


@contextmanager
def built(folder: Path) -> Generator[Yard]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(site(folder, Upstream())) as one:
        yield Yard(portal=portal, one=one)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Generator[Yard]:
    with built(tmp_path_factory.mktemp("yard")) as standing:
        yield standing


callers = iter(range(10**9))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spec=SPECS,
    seed=st.integers(0, 2**32),
    faults=st.sampled_from([0.0, 0.1, 0.4]),
    call=st.none() | st.integers(0, 300_000),
    hour=st.none() | st.integers(0, 300_000),
)
def test_no_answer_is_lost_the_bill_is_the_sum_of_its_parts_and_no_budget_is_passed(  # noqa: PLR0917 - hypothesis names them
    yard: Yard, spec: dict[str, Any], seed: int, faults: float, call: int | None, hour: int | None
) -> None:
    caller = f"caller {next(callers)}"
    dice = Dice(seed, faults)
    provider = yard.one.provider
    assert isinstance(provider, Upstream)
    provider.answering_with(dice)
    task = Task(prompt="Compare rust and go.", caller=caller, verify="none")
    limits = replace(task.constraints, max_cost_microusd=call, max_tokens=1_000)

    outcome = yard.run(spec, replace(task, constraints=limits), hour)
    parent, steps = yard.booked(caller)

    spent = sum(attempt.cost_microusd or 0 for step in steps for attempt in step.attempts)
    assert parent.cost_microusd == 0
    assert sum(step.cost_microusd or 0 for step in steps) == spent
    assert spent <= min(limit for limit in (call, hour, spent) if limit is not None)
    if hour is not None:
        assert yard.left(caller, hour) == (spent, 0)
    if isinstance(outcome, RouteRecord):
        assert outcome.cost_microusd == spent
        assert sorted(step.text for step in outcome.steps if step.text) == sorted(dice.answers)
        assert outcome.text
        assert outcome.is_partial or all(step.status in ("completed", "rejected") for step in outcome.steps)
    else:
        assert parent.outcome == "failed"
        assert not any(answer.startswith("<answer") for answer in dice.answers)
