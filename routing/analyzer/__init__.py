"""Stage 1: Task → TaskAnalysis.

    reading.py     a prompt taken apart: what is asked, and what is pasted
    lexicon.py     words and what they say, in eleven languages: a table
    wording.py     finding the lexicon's words in a text
    signals.py     shapes and what they say: code, formulas, tables, length
    effort.py      complexity, and the length of the answer
    language.py, sensitive.py
    rules.py       the evidence added up
    learned.py     shipped weights: an encoder and what the rules found, judged together
    cascade.py     the rules, and the weights over them; the analyzer that the server uses
    model_backed.py    a second opinion on uncertain tasks, from a cheap model
    this page      the rules as an analyzer, imported on first use, and the counting

Compiling the rules takes 80 ms that a host waiting for the list of tools should not pay.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread

from routing.tokens import DEFAULT_TOKENIZER, TokenCounter
from routing.types import Message, Task, TaskAnalysis, TokenCount

if TYPE_CHECKING:
    from routing.analyzer.rules import Classification

_COUNT_IN_THREAD_CHARS = 50_000
_IMAGE_TOKENS = 1_300
"""About what the vendors bill for a picture of a megapixel: Anthropic 1,334, OpenAI 765 to 1,105, Google 258 to 1,032."""


class RulesAnalyzer:
    """Understands tasks without a model. Deterministic; well under a millisecond for a usual prompt, beside the counting."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    @property
    def notices(self) -> tuple[str, ...]:
        """What every caller should know of the analyzer: nothing."""
        return ()

    async def analyze(self, task: Task) -> TaskAnalysis:
        """Understand a task; raises nothing."""
        analysis, _ = await self.examine(task)
        return analysis

    async def examine(self, task: Task) -> tuple[TaskAnalysis, Classification]:
        """Understand a task, and show what was found on the way; raises nothing."""
        if "routing.analyzer.rules" not in sys.modules:
            await anyio.to_thread.run_sync(importlib.import_module, "routing.analyzer.rules")
        if not self._counter.ready(DEFAULT_TOKENIZER):
            await self._counter.load()
        from routing.analyzer.rules import analysis_of, classify  # noqa: PLC0415 - imported above, in a thread

        schema = task.response_schema is not None
        found = classify(task.prompt, system=task.system or "", tools=task.tools or (), schema=schema)
        if task.texts:
            return await self._of_texts(task, analysis_of(task, found, TokenCount(tokens=0, exact=True))), found
        history = task.history or ()
        total = await self._count((*history, Message(role="user", content=task.prompt)), task.system or "")
        analysis = analysis_of(task, found, total)
        if history:
            droppable = (await self._count(history, "")).tokens
            analysis = replace(analysis, history_tokens=min(droppable, total.tokens))
        return (_with_images(analysis, len(task.images)) if task.images else analysis), found

    async def _of_texts(self, task: Task, analysis: TaskAnalysis) -> TaskAnalysis:
        """Texts to embed were handed over: that is what the task is, whatever its prompt sounds like."""
        counts = [self._counter.count(text) for text in task.texts]
        return replace(
            analysis,
            category="embedding",
            confidence=1.0,
            estimated_input_tokens=sum(count.tokens for count in counts),
            estimated_output_tokens=0,
            input_tokens_exact=all(count.exact for count in counts),
            longest_text_tokens=max(count.tokens for count in counts),
            requires_long_context=False,
            requires_tool_use=False,
            math_heavy=False,
            reasoning=f"{len(task.texts)} texts to embed",
        )

    async def _count(self, messages: Sequence[Message], system: str) -> TokenCount:
        if len(system) + sum(len(message.content) for message in messages) < _COUNT_IN_THREAD_CHARS:
            return self._counter.count_messages(messages, system)
        return await anyio.to_thread.run_sync(self._counter.count_messages, messages, system)


def _with_images(analysis: TaskAnalysis, images: int) -> TaskAnalysis:
    return replace(
        analysis,
        requires_vision=True,
        estimated_input_tokens=analysis.estimated_input_tokens + images * _IMAGE_TOKENS,
        input_tokens_exact=False,
    )
