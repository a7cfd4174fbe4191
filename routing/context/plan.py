"""Whether a prompt is to be read in parts, who reads it, and what that is expected to cost. Nothing is called here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from routing.analyzer.reading import read
from routing.catalog import Catalog
from routing.errors import NoEligibleModel
from routing.pricing import cost_microusd, spoken_usd
from routing.registry import Model
from routing.selector import Selector
from routing.types import ModelSelection, Task, TaskAnalysis, Usage

PART_TOKENS = (24_000, 6_000, 1_500)
"""How long a part is: the first of these that a model can take. Longer ones are read less thoroughly."""

NOTE_TOKENS = 2_000
"""Bound on the notes of one part."""

EXPECTED_NOTE_TOKENS = 300
OVERHEAD_TOKENS = 250
"""What goes along with each part, beside the question."""

_SHORTEST_TOKENS = 1_000
"""No window is so small that a shorter prompt would be read in parts."""

_LONG_ANSWER_TOKENS = 32_000

_MARGIN = 1.05
"""As the assembler's: our count may be off for other vendors' tokenizers."""

_PAYS = 0.8
"""Reading in parts must be expected to cost at most this share of sending everything: notes leave things out."""

_QUESTION_CHARS = 4_000

Select = Callable[[TaskAnalysis], ModelSelection]
"""The choice of a model for the task under another analysis of its length; raises `NoEligibleModel`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A prompt that is to be read in parts of ``part_tokens`` by the models of ``readers``, for the sake of ``question``.

    ``answer_tokens`` is how long the task is expected to be then; ``cost_microusd`` is what all of it is expected to cost, the
    answer included, ``None`` where a price is unknown.
    """

    why: Literal["overflow", "compress"]
    question: str
    part_tokens: int
    parts: int
    answer_tokens: int
    readers: ModelSelection
    cost_microusd: int | None
    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Decides. ``overflow``: whether what fits no model is read in parts; ``compress_above`` input tokens, what is dear."""

    selector: Selector
    overflow: bool = True
    compress_above: int | None = None

    def plan(self, task: Task, analysis: TaskAnalysis, catalog: Catalog, select: Select) -> Plan | None:
        """How to read the task's prompt in parts; ``None`` where it is sent whole, or refused as it always was."""
        tokens = prompt_tokens(analysis)
        if task.texts or analysis.category == "embedding" or tokens < _SHORTEST_TOKENS or _gives_it_back(analysis):
            return None
        if self.overflow and self._overflows(analysis, catalog, select):
            return self._affordable(task, self._drawn("overflow", task, analysis, catalog, select))
        if self.compress_above is not None and tokens > self.compress_above:
            return self._paying(self._drawn("compress", task, analysis, catalog, select), select(analysis))
        return None

    def _overflows(self, analysis: TaskAnalysis, catalog: Catalog, select: Select) -> bool:
        """Whether the prompt is too long for every model that could take the task if it were shorter."""
        needed = _needed(analysis)
        configured = [model for model in catalog.models.values() if catalog.is_configured(model) and _chats(model)]
        if all(needed <= model.context_window for model in configured):
            return False
        try:
            chosen = select(analysis).primary_model
        except NoEligibleModel:
            return True
        return needed > catalog.models[chosen].context_window

    def _drawn(
        self, why: Literal["overflow", "compress"], task: Task, analysis: TaskAnalysis, catalog: Catalog, select: Select
    ) -> Plan | None:
        """The plan, where somebody can read the parts and somebody can answer from the notes."""
        question = read(task.prompt).asked.strip()[:_QUESTION_CHARS]
        for size in PART_TOKENS:
            parts = -(-prompt_tokens(analysis) // size)
            short = shortened(analysis, min(size, parts * EXPECTED_NOTE_TOKENS) + OVERHEAD_TOKENS)
            try:
                readers = self.selector.select(reading_task(task), of_a_part(analysis, size), catalog)
                select(shortened(analysis, size + OVERHEAD_TOKENS + len(question) // 4))
                answering = select(short)
            except NoEligibleModel:
                continue
            reader = catalog.models[readers.primary_model]
            reading = _reading_microusd(reader, prompt_tokens(analysis), parts, len(question) // 4)
            answer = answering.estimated_cost_microusd
            cost = None if reading is None or answer is None else reading + answer
            return Plan(
                why=why,
                question=question,
                part_tokens=size,
                parts=parts,
                answer_tokens=short.estimated_input_tokens,
                readers=readers,
                cost_microusd=cost,
                notice=_notice(why, analysis, parts, reader),
            )
        return None

    def _affordable(self, task: Task, plan: Plan | None) -> Plan | None:
        """The plan, unless it is expected to cost more than the caller allows: money must not go before nothing comes."""
        most = task.constraints.max_cost_microusd
        return None if plan and most is not None and (plan.cost_microusd or 0) > most else plan

    def _paying(self, plan: Plan | None, whole: ModelSelection) -> Plan | None:
        """The plan, where it is expected to cost clearly less than sending the prompt whole."""
        direct = whole.estimated_cost_microusd
        if plan is None or plan.cost_microusd is None or direct is None or plan.cost_microusd > _PAYS * direct:
            return None
        spared = f" Expected: {spoken_usd(plan.cost_microusd)} in place of {spoken_usd(direct)}."
        return replace(plan, notice=plan.notice + spared)


def prompt_tokens(analysis: TaskAnalysis) -> int:
    """The input without the history, which the assembler can leave out."""
    return analysis.estimated_input_tokens - analysis.history_tokens


def with_room(selection: ModelSelection, analysis: TaskAnalysis, catalog: Catalog) -> ModelSelection:
    """The choice without the fallbacks that the prompt may not fit: the request is made to fit every candidate."""
    fits = tuple(name for name in selection.fallback_models if _needed(analysis) <= catalog.models[name].context_window)
    return selection if fits == selection.fallback_models else replace(selection, fallback_models=fits)


def reading_task(task: Task) -> Task:
    """The task of reading a part: the caller's wishes hold for it too, but for those that are about the answer."""
    wishes = replace(
        task.constraints, cost_preference="cheapest", max_tokens=None, max_cost_microusd=None, max_latency_ms=None
    )
    return replace(task, constraints=wishes, tools=(), images=(), response_schema=None)


def of_a_part(analysis: TaskAnalysis, tokens: int) -> TaskAnalysis:
    """The analysis of reading a part of so many tokens."""
    return replace(
        shortened(analysis, tokens + OVERHEAD_TOKENS + _QUESTION_CHARS // 4),
        category="long_document",
        complexity=1,
        confidence=1.0,
        estimated_output_tokens=NOTE_TOKENS,
        requires_tool_use=False,
        tools_named=(),
        requires_vision=False,
    )


def shortened(analysis: TaskAnalysis, tokens: int) -> TaskAnalysis:
    """The analysis of the same task with a shorter prompt and no history."""
    return replace(analysis, estimated_input_tokens=tokens, history_tokens=0, requires_long_context=False)


def _needed(analysis: TaskAnalysis) -> int:
    """The window that the prompt and its answer need, history left out."""
    return round(_MARGIN * prompt_tokens(analysis)) + analysis.estimated_output_tokens


def _gives_it_back(analysis: TaskAnalysis) -> bool:
    """Whether the answer is as long as the prompt, as a translation's is: notes would be no answer to it."""
    return analysis.estimated_output_tokens > min(prompt_tokens(analysis) // 4, _LONG_ANSWER_TOKENS)


def _chats(model: Model) -> bool:
    return model.kind == "chat"


def _reading_microusd(reader: Model, tokens: int, parts: int, question_tokens: int) -> int | None:
    usage = Usage(
        input_tokens=tokens + parts * (OVERHEAD_TOKENS + question_tokens), output_tokens=parts * EXPECTED_NOTE_TOKENS
    )
    return cost_microusd(usage, reader.prices)


def _notice(why: str, analysis: TaskAnalysis, parts: int, reader: Model) -> str:
    about = f"about {prompt_tokens(analysis):,} tokens"
    because = f"The prompt ({about}) fits the window of no model that may take it" if why == "overflow" else ""
    because = because or f"The prompt ({about}) is long and the chosen model dear"
    return (
        f"{because}: {reader.model_id} reads it in {parts} parts, and the answer is written from its notes. What they "
        "leave out, the answer cannot know."
    )
