"""The analyzer that the server uses: the rules, and the learned classifier over what they found.

Language, sensitive content, pattern, role and the named tools are the rules' word. Category, complexity, the need for tools
and the length of the answer are the weights'; without usable weights these are the rules' too, and `notices` says so.
In the modes ``auto`` and ``model`` the router may ask a model too: `routing.analyzer.model_backed`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from routing.analyzer import RulesAnalyzer
from routing.errors import AssetError
from routing.types import AnalyzerMode, Category, Task, TaskAnalysis

if TYPE_CHECKING:
    from routing.analyzer.learned import LearnedClassifier, Understanding
    from routing.analyzer.rules import Classification

_log = logging.getLogger(__name__)
_MOST_THREADS = 2
_NEEDS_TOOLS = 0.5
_REASONING_CHARS = 200


class CascadeAnalyzer:
    """Understands tasks with the rules and, unless ``mode`` is ``rules``, with the weights in ``folder`` (the shipped ones).

    They are loaded with the first task that needs them, in about half a second; where that takes longer than
    ``patience_seconds``, the rules answer until it is done. A prompt takes a few milliseconds, in a worker thread. Where the
    caller names the model, the rules suffice: nothing is chosen.
    """

    def __init__(
        self,
        rules: RulesAnalyzer,
        *,
        mode: AnalyzerMode = "auto",
        threads: int | None = None,
        folder: Path | None = None,
        patience_seconds: float = 5.0,
    ) -> None:
        self._rules = rules
        self._mode = mode
        self._threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
        self._folder = folder
        self._patience_seconds = patience_seconds
        self._classifier: LearnedClassifier | None = None
        self._problem: str | None = None
        self._loading = threading.Lock()

    @property
    def notices(self) -> tuple[str, ...]:
        """What every caller should know: that the weights cannot be used, once that was found out."""
        return (self._problem,) if self._problem else ()

    async def analyze(self, task: Task) -> TaskAnalysis:
        """Understand a task; raises nothing."""
        analysis, found = await self._rules.examine(task)
        if self._mode == "rules" or task.texts or task.constraints.force_model:
            return analysis
        understood: Understanding | None = None
        with anyio.move_on_after(None if self._classifier else self._patience_seconds):
            judge = partial(self._understood, task.prompt, found)
            understood = await to_thread.run_sync(judge, abandon_on_cancel=True)
        return analysis if understood is None else combined(task, analysis, found, understood)

    def _understood(self, prompt: str, found: Classification) -> Understanding | None:
        classifier = self._loaded()
        return None if classifier is None else classifier.understand(prompt, found)

    def _loaded(self) -> LearnedClassifier | None:
        with self._loading:
            if self._classifier is None and self._problem is None:
                try:
                    self._classifier = _loader(self._folder)(threads=self._threads)
                except (AssetError, ImportError) as problem:
                    _log.warning("rules alone tell what kind of task it is: %s", problem)
                    self._problem = f"Rules alone told what kind of task this is, which is less sure: {problem}"
        return self._classifier


def _loader(folder: Path | None) -> Callable[..., LearnedClassifier]:
    from routing.analyzer.learned import load  # noqa: PLC0415 - numpy and onnxruntime take 0.4 s; this is a worker thread

    return load if folder is None else partial(load, folder)


def combined(task: Task, analysis: TaskAnalysis, found: Classification, understood: Understanding) -> TaskAnalysis:
    """The rules' analysis with what the weights know better."""
    shares = _weighed(found, understood)
    category = max(shares, key=shares.__getitem__)
    return replace(
        analysis,
        category=category,
        confidence=round(shares[category], 4),
        complexity=1 if found.demands.trivial else understood.complexity,
        estimated_output_tokens=_output_tokens(task, analysis, found, category, understood),
        requires_tool_use=(
            category == "agentic_tool_use" or understood.tools >= _NEEDS_TOOLS or bool(analysis.tools_named)
        ),
        math_heavy=category == "deep_reasoning" and "math" in found.traits,
        analyzer="learned",
        reasoning=_reasoning(found, shares, understood, analysis.reasoning.partition("; holds ")[2]),
    )


def _weighed(found: Classification, understood: Understanding) -> Mapping[Category, float]:
    """The weights' shares; of a paste longer than those they have met, more and more the rules'.

    Where the prompt asks in so many words for a tool that does something, the rules' alone: the weights met no such prompts.
    """
    from routing.analyzer.rules import acting_in  # noqa: PLC0415 - the rules are imported by now
    from routing.analyzer.signals import LONG_DOCUMENT_CHARS, PAGE_CHARS  # noqa: PLC0415 - as above

    if acting_in(found.tools_named):
        return found.shares
    beyond = (found.reading.given_chars - PAGE_CHARS) / (LONG_DOCUMENT_CHARS - PAGE_CHARS)
    rules = max(0.0, min(1.0, beyond))
    return {
        category: (1 - rules) * share + rules * found.shares[category] for category, share in understood.shares.items()
    }


def _output_tokens(
    task: Task, analysis: TaskAnalysis, found: Classification, category: Category, understood: Understanding
) -> int:
    """The length that the caller names, or else the weights'; work that gives the text back is at least as long as that.

    An agent's length is the rules' one: it is the sum over its turns.
    """
    from routing.analyzer.effort import asked_length, output_tokens  # noqa: PLC0415 - as above

    asked = found.reading.asked
    if category == "agentic_tool_use" or asked_length(asked):
        expected = output_tokens(category, understood.complexity, asked)
    else:
        echoes = category == "text_generation" and "echo" in found.traits
        expected = max(understood.output_tokens, analysis.estimated_input_tokens if echoes else 0)
    return min(expected, task.constraints.max_tokens or expected)


def _reasoning(found: Classification, shares: Mapping[Category, float], understood: Understanding, secrets: str) -> str:
    first, second = sorted(shares, key=shares.__getitem__, reverse=True)[:2]
    because = ", ".join(found.because) or "no evidence"
    line = f"{first} {shares[first]:.2f}, else {second} {shares[second]:.2f}; complexity {understood.complexity}; "
    line += f"holds {secrets}; " if secrets else ""
    line += f"needs tools {understood.tools:.2f}; the rules say {found.category} ({because})"
    return line[:_REASONING_CHARS]
