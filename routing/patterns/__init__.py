"""Patterns of work: a task that several calls of models answer together (https://www.anthropic.com/engineering/building-effective-agents).

    chain.py         prompt chaining: steps one after the other, each from what the one before gave, with gates between
    parallel.py      parallelisation: sections side by side, and the best of several samples
    orchestrator.py  orchestrator and workers: a planner's sub-tasks, done as what they need is done, and put together
    evaluator.py     evaluator and optimizer: drafts, judged by another model, until they are good enough
    specs.py         what a caller says of a pattern: strict, small, and bounded
    gates.py         conditions on a step's answer that a machine can check
    tree.py          what all of them stand on: a step is a route of its own, under one bill, budget and deadline
    this page        which function follows which specification, and `Patterns`, which runs one

A pattern is a plain function of a specification and a `Tree`. Whatever it has so far, it leaves there with `Tree.answer`: a
step that fails, a budget that runs out and a deadline that passes end the work, and take away nothing that was done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio

from routing.errors import DeadlineExceeded, InvalidTask, RoutingError
from routing.patterns.chain import follow_chain
from routing.patterns.evaluator import follow_evaluate
from routing.patterns.orchestrator import follow_orchestrate
from routing.patterns.parallel import follow_best_of, follow_sections
from routing.patterns.specs import BestOf, Chain, Evaluate, Orchestrate, Sections, Spec, parse
from routing.patterns.tree import Keep, Tree, unkept
from routing.pricing import with_steps
from routing.recorder import OpenRoute
from routing.router import Router, validate
from routing.types import OnProgress, RouteRecord, Task

__all__ = ["Patterns", "Tree", "follow", "parse"]


async def follow(spec: Spec, tree: Tree) -> None:
    """Do the work of a pattern; its answer, or what there is of it, is left in the tree.

    Raises:
        RoutingError: a step failed without which the pattern cannot go on.

    """
    match spec:
        case Chain():
            await follow_chain(spec, tree)
        case Sections():
            await follow_sections(spec, tree)
        case BestOf():
            await follow_best_of(spec, tree)
        case Orchestrate():
            await follow_orchestrate(spec, tree)
        case Evaluate():
            await follow_evaluate(spec, tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Runs patterns on a router. ``keep`` is given each step's record, so that its answer can be read later."""

    router: Router
    keep: Keep = unkept

    async def run(self, spec: Spec, task: Task, on_progress: OnProgress, route_id: str | None = None) -> RouteRecord:
        """Answer a task by a pattern. The record has the steps, and sums over them; in the ledger each is a route of its own.

        Raises:
            RoutingError: what `Router.route` raises, where nothing at all was answered.

        """
        _check(spec, task)
        await self.router.admit()
        task = replace(task, pattern=spec.pattern)
        async with self.router.recorder.recording(task, route_id) as route:
            tree = await self._opened(route, on_progress)
            with anyio.move_on_after(task.constraints.deadline_seconds) as deadline:
                await _as_far_as_possible(spec, tree)
            if deadline.cancelled_caught:
                _say_that_time_is_over(tree, task)
        assert route.record is not None  # noqa: S101 - recording() leaves it where the block ended well
        return with_steps(route.record, tree.all_steps())

    async def _opened(self, route: OpenRoute, on_progress: OnProgress) -> Tree:
        task = await self.router.resumed(route.task, route)
        analysis = await self.router.analyzer.analyze(task)
        route.analysis = replace(analysis, pattern=task.pattern or analysis.pattern)
        purse = self.router.purse_of(route)
        return Tree(router=self.router, route=route, task=task, purse=purse, on_progress=on_progress, keep=self.keep)


async def _as_far_as_possible(spec: Spec, tree: Tree) -> None:
    try:
        await follow(spec, tree)
    except RoutingError as problem:
        if not tree.is_answered:
            raise
        tree.notice(f"It ended before its last step: {problem}")


def _say_that_time_is_over(tree: Tree, task: Task) -> None:
    limit = f"deadline_seconds={task.constraints.deadline_seconds:g}"
    if not tree.is_answered:
        raise DeadlineExceeded(f"no step was answered within {limit}. Allow more time, or force a faster model.")
    tree.notice(f"It ended before its last step: {limit} passed.")


def _check(spec: Spec, task: Task) -> None:
    validate(task)
    if task.texts:
        raise InvalidTask("a pattern answers in words; texts are for an embedding model. Leave one of them out.")
    if task.response_schema is not None and isinstance(spec, Sections) and spec.merge is None:
        raise InvalidTask("sections are put one after the other, which follows no response_schema. Give them a merge.")
