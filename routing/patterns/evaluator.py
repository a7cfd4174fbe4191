"""Evaluator and optimizer: drafts, judged by another model against stated criteria, until one is good enough.

The best draft is kept, which is not always the last; a draft that could not be judged never takes its place.
"""

from __future__ import annotations

from routing.patterns.inner import Inner, listed, read
from routing.patterns.specs import TOP_SCORE, Evaluate
from routing.patterns.tree import Tree, Work, Written

_JUDGE = (
    "Judge an answer to a task by these criteria, strictly:\n{criteria}\n\nThe task:\n{task}\n\nThe answer:\n{answer}\n\n"
    f"score: 0 to {TOP_SCORE}, {TOP_SCORE} only where every criterion is met. feedback: what to change, criterion by criterion."
)
_BETTER = (
    "{task}\n\nThe answer will be judged by these criteria:\n{criteria}\n\nAn earlier answer:\n{answer}\n\n"
    "What was said of it:\n{feedback}\n\nGive the whole answer again, improved, and say nothing of the earlier one."
)
_FIRST = "{task}\n\nThe answer will be judged by these criteria:\n{criteria}"


class Verdict(Inner):
    """What the evaluator says of a draft."""

    score: int
    feedback: str


async def follow_evaluate(spec: Evaluate, tree: Tree) -> None:
    """Write, judge, and write anew from what was said, for so many rounds at most; the draft with the best score is kept.

    Raises:
        PatternStopped: a verdict was none.
        RoutingError: a step failed.

    """
    criteria, task = listed(spec.criteria), tree.task.prompt
    tree.plan("optimizer", "draft 1")
    tree.plan("evaluator", "verdict 1")
    prompt, best = _FIRST.format(task=task, criteria=criteria), -1
    for number in range(1, spec.rounds + 1):
        draft = await tree.ask(
            Work(name=f"draft {number}", prompt=prompt, role="optimizer", schema=tree.task.response_schema)
        )
        if number == 1:
            tree.answer(draft)
        verdict = await _judged(draft, number, criteria, tree)
        if verdict.score > best:
            best = verdict.score
            tree.answer(draft)
        if verdict.score >= spec.enough:
            return
        prompt = _BETTER.format(task=task, criteria=criteria, answer=draft.text, feedback=verdict.feedback)
    tree.notice(
        f"No draft was good enough: the best of {spec.rounds} scored {best} of {TOP_SCORE}, wanted were {spec.enough}."
    )


async def _judged(draft: Written, number: int, criteria: str, tree: Tree) -> Verdict:
    work = Work(
        name=f"verdict {number}",
        prompt=_JUDGE.format(criteria=criteria, task=tree.task.prompt, answer=draft.text),
        role="evaluator",
        schema=Verdict.model_json_schema(),
        inner=True,
        other_than=frozenset({draft.model_id}),
    )
    verdict = read(Verdict, await tree.ask(work))
    score = min(max(verdict.score, 0), TOP_SCORE)
    tree.amend(draft.name, f"{score} of {TOP_SCORE}")
    tree.amend(work.name, verdict.feedback)
    return Verdict(score=score, feedback=verdict.feedback)
