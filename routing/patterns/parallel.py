"""Parallelisation: sections side by side, and the best of several samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from routing.patterns.chain import filled
from routing.patterns.inner import Inner, listed, read, results
from routing.patterns.specs import BestOf, Sections
from routing.patterns.tree import Tree, Work, Written

_TITLE_CHARS = 80
_MERGE = "{merge}\n\nThe task was:\n{task}\n\nThese are the parts, done one by one:\n\n{parts}"
_JUDGE = (
    "Say which of these answers to a task is the best.{criteria}\n\nThe task:\n{task}\n\n{answers}\n\n"
    "best is its number, why one sentence."
)


class Choice(Inner):
    """What the judge of several answers says."""

    best: int
    why: str


async def follow_sections(spec: Sections, tree: Tree) -> None:
    """Do the sections side by side; what is done of them is merged, or put one after the other.

    Raises:
        RoutingError: no section was answered, or the merging failed.

    """
    task = tree.task.prompt
    works = [
        Work(
            name=f"section {number}",
            prompt=filled(section, {"input": task}, otherwise=f"The task:\n{task}"),
            role="worker",
        )
        for number, section in enumerate(spec.sections, start=1)
    ]
    titles = [f"{number}. {_title(section)}" for number, section in enumerate(spec.sections, start=1)]
    tree.plan("worker", *(work.name for work in works))
    if spec.merge is not None:
        tree.plan("synthesizer", "merge")

    def put_together(done: Sequence[Written | None]) -> None:
        parts = [part for part in done if part is not None]
        rows = [(title, part.text) for title, part in zip(titles, done, strict=True) if part is not None]
        tree.answer(parts[-1], results(rows), parts)

    done = await side_by_side(works, tree, put_together)
    if spec.merge is not None:
        parts = results([(title, part.text if part else None) for title, part in zip(titles, done, strict=True)])
        prompt = _MERGE.format(merge=spec.merge, task=task, parts=parts)
        schema = tree.task.response_schema
        merged = await tree.ask(Work(name="merge", prompt=prompt, role="synthesizer", schema=schema))
        tree.answer(merged, made_of=[part for part in (*done, merged) if part is not None])


async def follow_best_of(spec: BestOf, tree: Tree) -> None:
    """Have the task answered several times, and take the answer that most agree with, or that a judge finds best.

    Raises:
        RoutingError: no sample was answered, or the judge failed.

    """
    works = [
        Work(name=f"sample {number}", prompt=tree.task.prompt, role="worker", schema=tree.task.response_schema)
        for number in range(1, spec.samples + 1)
    ]
    tree.plan("worker", *(work.name for work in works))
    if spec.choose == "judge":
        tree.plan("evaluator", "judge")

    def take_the_first(done: Sequence[Written | None]) -> None:
        tree.answer(next(sample for sample in done if sample is not None))

    samples = [sample for sample in await side_by_side(works, tree, take_the_first) if sample is not None]
    await _vote(samples, tree)
    different = list({sample.text.strip(): sample for sample in reversed(samples)}.values())[::-1]
    if spec.choose == "judge" and len(different) > 1:
        await _judged(spec, different, tree)
    elif spec.choose == "judge":
        tree.drop("judge")


async def side_by_side(
    works: Sequence[Work], tree: Tree, on_done: Callable[[Sequence[Written | None]], None]
) -> Sequence[Written | None]:
    """Do works at once; ``on_done`` is told of all of them whenever one more is done. ``None`` stands for what failed.

    Raises:
        RoutingError: all of them failed.

    """
    done: list[Written | None] = [None] * len(works)

    async def do(place: int, work: Work) -> None:
        done[place] = await tree.attempt(work)
        if done[place] is not None:
            on_done(done)

    async with anyio.create_task_group() as group:
        for place, work in enumerate(works):
            group.start_soon(do, place, work)
    if not any(done):
        raise tree.give_up()
    return done


async def _vote(samples: Sequence[Written], tree: Tree) -> None:
    """Take the sample that agrees most with the others, the first of them where several do."""
    if len(samples) == 1:
        tree.answer(samples[0])
        return
    table = await anyio.to_thread.run_sync(_agreements, [sample.text for sample in samples])
    best = max(range(len(samples)), key=lambda place: (sum(table[place]), -place))
    for sample, row in zip(samples, table, strict=True):
        tree.amend(sample.name, f"{sum(value == 1 for value in row)} of {len(samples) - 1} others say the same")
    if not any(value == 1 for row in table for value in row):
        tree.notice(f"No two of the {len(samples)} samples agree; this is the one that is nearest to the others.")
    tree.answer(samples[best])


def _agreements(texts: Sequence[str]) -> list[list[float]]:
    """Of each text, how far each other one agrees with it."""
    from routing.agreement import agreement  # noqa: PLC0415 - few tasks vote

    return [[agreement(one, other) for at, other in enumerate(texts) if at != place] for place, one in enumerate(texts)]


async def _judged(spec: BestOf, samples: Sequence[Written], tree: Tree) -> None:
    criteria = f" What counts:\n{listed(spec.criteria)}" if spec.criteria else ""
    answers = "\n\n".join(f"Answer {number}:\n{sample.text}" for number, sample in enumerate(samples, start=1))
    prompt = _JUDGE.format(criteria=criteria, task=tree.task.prompt, answers=answers)
    authors = frozenset(sample.model_id for sample in samples)
    work = Work(
        name="judge", prompt=prompt, role="evaluator", schema=Choice.model_json_schema(), inner=True, other_than=authors
    )
    choice = read(Choice, await tree.ask(work))
    best = min(max(choice.best, 1), len(samples))
    tree.amend("judge", f"{samples[best - 1].name} is the best: {choice.why}")
    tree.answer(samples[best - 1])


def _title(section: str) -> str:
    line = section.strip().splitlines()[0]
    return line if len(line) <= _TITLE_CHARS else f"{line[: _TITLE_CHARS - 1]}…"
