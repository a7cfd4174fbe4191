"""What a person picks from a host's menu: `delegate`, `compare_models`, `cost_check`.

A prompt tells the host's own model which of our tools to call, in which order, and what to make of the results. It names no
tool that is not offered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts import Prompt
from pydantic import Field

from routing.types import Category, CostPreference
from tools.base import Services, services_of
from tools.icons import ICON

AnyContext = Context[Services, Any]
Task = Annotated[str, Field(description="The task, in your words", min_length=1)]
Model = Annotated[str, Field(description="A model id that is to take it; default: the router chooses")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A prompt, and the tools without which it makes no sense."""

    prompt: Prompt
    needs: frozenset[str]


def delegate(
    ctx: AnyContext,
    task: Task,
    model: Model = "",
    session_id: Annotated[str, Field(description="Of the conversation that it continues")] = "",
    cost_preference: Annotated[CostPreference | None, Field(description="cheapest, balanced or best_quality")] = None,
) -> str:
    """Have a task done by the cheapest model that is good enough, and check the answer."""
    said = {"force_model": model, "session_id": session_id, "cost_preference": cost_preference}
    batch = "For the same task over many items call route_batch once, with a template. "
    rate = "Rate the answer with record_feedback (its route_id, 0 to 1): the router learns from it."
    return _steps(
        f"Have this done with Pointsman:\n\n{task}",
        "Decide first whether to delegate. Do it yourself, and say so, where it needs files, tools or a conversation that only "
        "you see and cannot paste, or where the prompt would be longer than the answer.",
        "Otherwise write a prompt that is complete in itself: the goal, all the material (paste it, do not point to it), the "
        "form and length of the answer, and what would make it wrong. Leave out secrets that the task does not need.",
        f"Call route_and_answer with that prompt{_arguments(said)}. {_if_offered(ctx, 'route_batch', batch)}Where status is "
        '"running", get_answer with its route_id waits for it.',
        "Check the answer against the task as you would a colleague's. If it falls short, call once more with its session_id "
        "and what was wrong, or with cost_preference best_quality; then do it yourself.",
        _if_offered(ctx, "record_feedback", rate),
        "Give me the answer, and in one line the model, its cost and what was saved.",
    )


def compare_models(
    ctx: AnyContext,
    task: Annotated[str, Field(description="The task; or give a category")] = "",
    category: Annotated[Category | None, Field(description="A kind of task, where there is no single one")] = None,
    models: Annotated[str, Field(description="Model ids, comma-separated; default: every configured model")] = "",
) -> str:
    """Compare models for a task: price, speed, quality and your own record with them. Calls no model."""
    subject = _subject(task, category)
    named = [name.strip() for name in models.split(",") if name.strip()]
    classify = (
        "Call classify_task with it: category, complexity, the model that would be chosen, and why not the others."
    )
    record = (
        "Call usage_report with period month and by model: how they did here (latency, failures, scores). Say so where there "
        "is no record."
    )
    sized = "prompt" if task else "input_tokens and output_tokens that are typical of it (say which you took)"
    return _steps(
        f"Compare models with Pointsman for {subject}",
        _if_offered(ctx, "classify_task", classify) if task else "",
        "Call list_models: tier, quality index, context window, prices and their age, health.",
        f"Call estimate_cost with {sized}{_arguments({'models': named})}: expected and worst cost, latency.",
        _if_offered(ctx, "usage_report", record),
        "Show one table: model, expected cost, seconds, quality, what speaks against it. What is unknown stays unknown: do not "
        "fill it in from memory. Then name the cheapest that is good enough, the best, and when to take which.",
        "None of this calls a model. If the table does not decide it, offer to have the task done by the best two "
        "(force_model), with the price, and wait for my word.",
    )


def cost_check(
    ctx: AnyContext,
    task: Task,
    turns: Annotated[int, Field(description="How often it is to be done; default 1", ge=1)] = 1,
    model: Model = "",
) -> str:
    """Say what a task would cost, and on which model, before anything is spent. Calls no model."""
    said: Mapping[str, object] = {"turns": turns if turns > 1 else None}
    budget = "Call usage_report with period day: what is left of the budgets, and what such tasks cost so far."
    chosen = f"the cost on {model}, and on the model that would be chosen" if model else "the cost on the chosen model"
    return _steps(
        f"What would this cost with Pointsman?\n\n{task}",
        f"Call estimate_cost with the whole task as prompt, material included{_arguments(said)}. If the material is not at "
        "hand, estimate its size and give input_tokens and output_tokens instead.",
        _if_offered(ctx, "usage_report", budget),
        f"Tell me in at most five lines: {chosen} (expected, and at worst), the cheapest and the dearest configured model "
        "beside it, what is left of the budget, and whether the token count is exact or an estimate.",
        "Do not have the task done: ask me first.",
    )


def _subject(task: str, category: Category | None) -> str:
    if task:
        return f"this task:\n\n{task}"
    return f"tasks of the category {category}." if category else "the task that we are talking about."


def _steps(opening: str, *steps: str) -> str:
    numbered = [f"{number}. {step}" for number, step in enumerate(filter(None, steps), start=1)]
    return "\n".join([opening, "", *numbered])


def _arguments(said: Mapping[str, object]) -> str:
    """Arguments that were given, as a model is to pass them on."""
    return "".join(f", {name}={json.dumps(value, ensure_ascii=False)}" for name, value in said.items() if value)


def _if_offered(ctx: AnyContext, tool: str, text: str) -> str:
    return text if any(row.name == tool for row in services_of(ctx).offered) else ""


def prompts() -> Sequence[Offer]:
    """The prompts of this page."""
    rows = (
        (delegate, "Delegate this", {"route_and_answer"}),
        (compare_models, "Compare models", {"estimate_cost", "list_models"}),
        (cost_check, "What would it cost?", {"estimate_cost"}),
    )
    return tuple(
        Offer(prompt=Prompt.from_function(function, title=title, icons=[ICON]), needs=frozenset(needs))
        for function, title, needs in rows
    )
