"""Prompt chaining: steps one after the other, each from what the one before gave, with gates between."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from routing.errors import PatternStopped
from routing.patterns.gates import check, refusal
from routing.patterns.specs import Chain, ChainStep
from routing.patterns.tree import Tree, Work, Written

_TRIES = 2
_AGAIN = (
    "{prompt}\n\nAn earlier answer was not accepted: {why}. Give the whole answer, so that this is right.\n\n{answer}"
)


async def follow_chain(spec: Chain, tree: Tree) -> None:
    """Do the steps in order. An answer that does not pass its gate is asked for once more; then the chain ends there.

    Raises:
        InvalidTask: a gate is none that an answer could be held against.
        PatternStopped: an answer did not pass its gate twice.
        RoutingError: a step failed.

    """
    for step in spec.steps:
        check(step.gate)
    for number, step in enumerate(spec.steps, start=1):
        tree.plan(step.role, f"step {number}")
    previous = tree.task.prompt
    for number, step in enumerate(spec.steps, start=1):
        is_last = number == len(spec.steps)
        work = Work(
            name=f"step {number}",
            prompt=filled(step.prompt, {"input": tree.task.prompt, "previous": previous}, otherwise=previous),
            role=step.role,
            schema=_schema(step, tree, is_last=is_last),
            sees_task=number == 1 or "{input}" in step.prompt,
        )
        written = await _through(step, work, tree)
        tree.answer(written)
        previous = written.text


def filled(template: str, values: Mapping[str, str], *, otherwise: str) -> str:
    """A template with its values in it; where it names none of them, with one at its end. Other braces stay as they are.

    >>> filled("Sum up {input} as {json}", {"input": "a {json}"}, otherwise="")
    'Sum up a {json} as {json}'
    """
    mark = re.compile(rf"\{{({'|'.join(values)})\}}")
    if mark.search(template) is None:
        return f"{template}\n\n{otherwise}"
    return mark.sub(lambda found: values[found[1]], template)


def _schema(step: ChainStep, tree: Tree, *, is_last: bool) -> Mapping[str, object] | None:
    if step.gate is not None and step.gate.form is not None:
        return step.gate.form
    return tree.task.response_schema if is_last else None


async def _through(step: ChainStep, work: Work, tree: Tree) -> Written:
    """The answer of a step that passed its gate, at the second try if need be."""
    prompt, why = work.prompt, ""
    for _ in range(_TRIES):
        written = await tree.ask(replace(work, prompt=prompt))
        found = None if step.gate is None else await refusal(step.gate, work.prompt, written.text)
        if found is None:
            return written
        tree.amend(work.name, found, "rejected")
        if not tree.is_answered:
            tree.answer(written)  # better than nothing, and its step says what is wrong with it
        prompt, why = _AGAIN.format(prompt=work.prompt, why=found, answer=written.text), found
    raise PatternStopped(f"{work.name} did not pass its gate twice: {why}. Loosen the gate, or say more in its prompt.")
