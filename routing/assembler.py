"""Stage 3: Task + TaskAnalysis + ModelSelection → ModelRequest.

The same request goes to every candidate, so it is made to fit the smallest window among them. What does not fit is the
oldest part of the history; the prompt and the system prompt are never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from routing.catalog import Catalog
from routing.embeddings import wanted_of
from routing.errors import ContextOverflow
from routing.tokens import TokenCounter
from routing.types import Message, ModelRequest, ModelSelection, Task, TaskAnalysis, Toolbox, ToolSpec

_MARGIN = 1.05
"""Our count may be off for other vendors' tokenizers; leave this much room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembler:
    """Builds requests. ``toolbox`` holds the tools that this server can run for a model."""

    counter: TokenCounter
    toolbox: Toolbox

    def assemble(self, task: Task, analysis: TaskAnalysis, selection: ModelSelection, catalog: Catalog) -> ModelRequest:
        """Build the request for the selection's candidates.

        Raises:
            ContextOverflow: the prompt alone does not fit the smallest window among the candidates.

        """
        if task.texts:
            return ModelRequest(messages=(), system="", max_output_tokens=0, texts=wanted_of(task).inputs)
        facts = catalog.registry.categories[analysis.category]
        system = task.system if task.system is not None else facts.system_prompt
        candidates = [catalog.models[model_id] for model_id in selection.candidates]
        wanted = task.constraints.max_tokens or facts.max_output_tokens
        reply = min(wanted, *(model.max_output_tokens for model in candidates))
        window = min(model.context_window for model in candidates)
        room = window - min(reply, analysis.estimated_output_tokens)
        messages, dropped = self._fit(task, system, room)
        tools = self._granted(task, analysis, facts.tools)
        return ModelRequest(
            messages=messages,
            system=system,
            max_output_tokens=reply,
            tools=tools,
            response_schema=task.response_schema,
            notices=(*_dropped_notice(dropped, window), *self._withheld_notices(task, analysis, tools)),
        )

    def _granted(self, task: Task, analysis: TaskAnalysis, allowed: Sequence[str]) -> tuple[ToolSpec, ...]:
        """The tools that the caller wants, the category allows and this server has.

        A caller who says nothing wants what fits: nothing where the task needs none, because every tool's description is
        paid for; only what the prompt names where it names some.
        """
        wanted: Sequence[str] = task.tools or ()
        if task.tools is None:
            wanted = (analysis.tools_named or allowed) if analysis.requires_tool_use else ()
        specs = self.toolbox.specs
        return tuple(specs[name] for name in allowed if name in wanted and name in specs)

    def _withheld_notices(self, task: Task, analysis: TaskAnalysis, granted: Sequence[ToolSpec]) -> list[str]:
        """Say why a tool that was asked for is not there."""
        given = {tool.name for tool in granted}
        asked = dict.fromkeys((*(task.tools or ()), *(analysis.tools_named if task.tools is None else ())))
        return [self._why_withheld(name, analysis) for name in asked if name not in given]

    def _why_withheld(self, name: str, analysis: TaskAnalysis) -> str:
        if name in self.toolbox.specs:
            return f"The model was not given {name}: {analysis.category} tasks do without it."
        return f"The model was not given {name}: this server has no such tool at the moment; `doctor` says why."

    def _fit(self, task: Task, system: str, room: int) -> tuple[tuple[Message, ...], int]:
        """The history's newest turns that fit ``room`` tokens, then the prompt; and how many messages were dropped."""
        prompt = Message(role="user", content=task.prompt, images=task.images)
        history = task.history or ()
        if _MARGIN * self.counter.at_most((*history, prompt), system) <= room:
            return (*history, prompt), 0  # nearly always, and then nothing has to be counted
        turns = _turns(history)
        left = room - self._tokens((prompt,), system)
        if left < 0:
            raise ContextOverflow(
                f"the prompt needs {room - left:,} tokens and {room:,} are free. Shorten it, lower max_tokens, or configure a "
                "model with a larger window."
            )
        kept: list[tuple[Message, ...]] = []
        for turn in reversed(turns):
            left -= self._tokens(turn, "")
            if left < 0:
                break
            kept.insert(0, turn)
        messages = tuple(message for turn in kept for message in turn)
        return (*messages, prompt), sum(map(len, turns)) - len(messages)

    def _tokens(self, messages: Sequence[Message], system: str) -> int:
        return round(_MARGIN * self.counter.count_messages(messages, system).tokens)


def _turns(history: Sequence[Message]) -> list[tuple[Message, ...]]:
    """Cut a history before each user message, so that a tool's result never stands without its call."""
    starts = [index for index, message in enumerate(history) if message.role == "user" or index == 0]
    return [tuple(history[start:end]) for start, end in pairwise([*starts, len(history)])]


def _dropped_notice(dropped: int, window: int) -> tuple[str, ...]:
    if not dropped:
        return ()
    return (
        f"The {dropped} oldest messages were left out: the conversation is longer than the window of {window:,} tokens.",
    )
