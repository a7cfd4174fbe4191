"""Orchestrator and workers: a planner's sub-tasks, done as what they need is done, and put together.

A sub-task may need earlier ones only, so no plan goes round in circles; what else a planner says of needs is told to it once,
and then left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio

from routing.errors import PatternStopped
from routing.patterns.inner import Inner, listed, read, results
from routing.patterns.specs import Orchestrate
from routing.patterns.tree import Tree, Work, Written

_PLAN = (
    "Divide the task below into at most {most} sub-tasks for workers, who do them side by side. Do not do the task. Each "
    "sub-task is a complete instruction. A worker is shown the task, its own sub-task and the results of those that it needs. "
    "needs: the numbers (from 1) of earlier sub-tasks whose results it cannot do without; empty is best. Fewer are better: one "
    "where the task is one piece of work.\n\nThe task:\n{task}"
)
_REPLAN = "{plan}\n\nYour plan was:\n{answer}\n\nIt is wrong: {why}. Give the whole plan again, corrected."
_WORK = "The larger task, to know what it is about:\n{task}\n\n{needed}Do this part of it, and nothing else:\n{part}"
_NEEDED = "What was found out before:\n\n{results}\n\n"
_PUT_TOGETHER = (
    "Answer the task from the results of its parts. Say nothing of how it was divided.{missing}\n\nThe task:\n{task}\n\n"
    "{parts}"
)
_MISSING = " Where a missing part matters, say that it is missing."


class Subtask(Inner):
    """A part of the task."""

    task: str
    needs: tuple[int, ...]


class Plan(Inner):
    """What the planner says."""

    subtasks: tuple[Subtask, ...]


@dataclass(slots=True, kw_only=True)
class _Site:
    """The work on a plan: what is done of each part, and an event that is set once nothing more will be."""

    parts: Sequence[Subtask]
    done: list[Written | None] = field(default_factory=list[Written | None])
    ended: list[anyio.Event] = field(default_factory=list[anyio.Event])

    def results_of(self, numbers: Sequence[int]) -> str:
        return results([(self.parts[number - 1].task, _text(self.done[number - 1])) for number in numbers])


async def follow_orchestrate(spec: Orchestrate, tree: Tree) -> None:
    """Plan, do the parts, and put them together. A part whose needs failed is not begun; the others are not lost by it.

    Raises:
        PatternStopped: the planner gave no plan.
        RoutingError: the planner failed, no part was done, or the putting together failed.

    """
    tree.plan("planner", "plan")
    plan = await _planned(spec, tree)
    site = _Site(parts=plan.subtasks)
    site.done += [None] * len(site.parts)
    site.ended += [anyio.Event() for _ in site.parts]
    tree.plan("worker", *(_name(number) for number in range(1, len(site.parts) + 1)))
    if len(site.parts) > 1:
        tree.plan("synthesizer", "synthesis")
    async with anyio.create_task_group() as group:
        for number in range(1, len(site.parts) + 1):
            group.start_soon(_do, number, site, tree)
    if not any(site.done):
        raise tree.give_up()
    if len(site.parts) > 1:
        await _put_together(site, tree)


async def _planned(spec: Orchestrate, tree: Tree) -> Plan:
    prompt = _PLAN.format(most=spec.subtasks, task=tree.task.prompt)
    work = Work(name="plan", prompt=prompt, role="planner", schema=Plan.model_json_schema(), inner=True)
    written = await tree.ask(work)
    try:
        plan = read(Plan, written)
        problems = _problems(plan, spec.subtasks)
    except PatternStopped as problem:
        problems = [str(problem)]
        plan = None
    if problems:
        why = "; ".join(problems)
        tree.amend("plan", why, "rejected")
        again = _REPLAN.format(plan=prompt, answer=written.text, why=why)
        plan = read(Plan, await tree.ask(replace(work, prompt=again)))
        problems = _problems(plan, spec.subtasks)
    if plan is None or not any(part.task.strip() for part in plan.subtasks):
        raise PatternStopped("the planner gave no plan. Ask for the task without a pattern, or force a stronger model.")
    if problems:
        tree.notice(f"The plan was taken without what is wrong with it: {'; '.join(problems)}.")
    plan = _without_problems(plan, spec.subtasks)
    tree.amend("plan", listed([_spoken(part) for part in plan.subtasks]))
    return plan


def _problems(plan: Plan, most: int) -> list[str]:
    """What is wrong with a plan, in words that help to mend it."""
    found = [] if plan.subtasks else ["it has no sub-tasks"]
    if len(plan.subtasks) > most:
        found.append(f"it has {len(plan.subtasks)} sub-tasks, at most {most} are allowed")
    for number, part in enumerate(plan.subtasks, start=1):
        if not part.task.strip():
            found.append(f"sub-task {number} is empty")
        wrong = sorted({need for need in part.needs if not 0 < need < number})
        if wrong:
            found.append(f"sub-task {number} needs {', '.join(map(str, wrong))}, which is not before it")
    return found


def _without_problems(plan: Plan, most: int) -> Plan:
    """The plan with what can be done of it: each part by its own number, needing earlier ones only."""
    kept = [number for number, part in enumerate(plan.subtasks, start=1) if part.task.strip()][:most]
    new = {old: place for place, old in enumerate(kept, start=1)}
    parts = (
        Subtask(
            task=plan.subtasks[old - 1].task,
            needs=tuple(sorted({new[need] for need in plan.subtasks[old - 1].needs if need in new and need < old})),
        )
        for old in kept
    )
    return Plan(subtasks=tuple(parts))


async def _do(number: int, site: _Site, tree: Tree) -> None:
    part = site.parts[number - 1]
    try:
        for need in part.needs:
            await site.ended[need - 1].wait()
        if lost := [need for need in part.needs if site.done[need - 1] is None]:
            tree.plan("worker", _name(number), unless=f"it needs part {', '.join(map(str, lost))}, which was not done")
            return
        needed = _NEEDED.format(results=site.results_of(part.needs)) if part.needs else ""
        prompt = _WORK.format(task=tree.task.prompt, needed=needed, part=part.task)
        schema = tree.task.response_schema if len(site.parts) == 1 else None
        written = await tree.attempt(Work(name=_name(number), prompt=prompt, role="worker", schema=schema))
        site.done[number - 1] = written
        if written is not None:
            _keep_what_is_done(site, written, tree)
    finally:
        site.ended[number - 1].set()


def _keep_what_is_done(site: _Site, written: Written, tree: Tree) -> None:
    """Have the parts one after the other for an answer, until they are put together."""
    if len(site.parts) == 1:
        tree.answer(written)
        return
    numbers = [number for number, part in enumerate(site.done, start=1) if part is not None]
    tree.answer(written, site.results_of(numbers), [part for part in site.done if part is not None])


async def _put_together(site: _Site, tree: Tree) -> None:
    missing = "" if all(site.done) else _MISSING
    parts = site.results_of(range(1, len(site.parts) + 1))
    prompt = _PUT_TOGETHER.format(missing=missing, task=tree.task.prompt, parts=parts)
    schema = tree.task.response_schema
    written = await tree.ask(Work(name="synthesis", prompt=prompt, role="synthesizer", schema=schema))
    tree.answer(written, made_of=[part for part in (*site.done, written) if part is not None])


def _name(number: int) -> str:
    return f"part {number}"


def _text(written: Written | None) -> str | None:
    return None if written is None else written.text


def _spoken(part: Subtask) -> str:
    return f"{part.task} (needs {', '.join(map(str, part.needs))})" if part.needs else part.task
