"""What teaches the open half of a pair of models, beside the few open prompts that both have answered.

Three hundred word problems say how a pair differs on word problems. Which of two poems, proofs or programs profits from the
stronger model has to come from elsewhere: from other models of about the same two strengths (`STAND_INS`), and for kinds of
prompt without any outcome from the level of its kind alone (``written_prompts.jsonl``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from routing.learning.outcomes import DataFile, Outcome

WRITTEN_PROMPTS = Path(__file__).with_name("written_prompts.jsonl")

Kind = Literal["mathematics", "coding", "reasoning", "extraction", "facts", "stem", "humanities", "writing", "roleplay"]

LEVELS: Mapping[Kind, float] = {
    "mathematics": 0.30,
    "coding": 0.30,
    "reasoning": 0.30,
    "extraction": 0.12,
    "facts": 0.10,
    "stem": 0.08,
    "humanities": 0.04,
    "writing": 0.04,
    "roleplay": 0.04,
}
"""By how much a judge prefers the strong answer, by kind of prompt: an assumption, not a measurement of ours.

Its order is that of the published comparisons by category (arXiv 2306.05685: strong models differ most from weaker ones in
mathematics, coding and reasoning, hardly in writing, roleplay and the humanities); its sizes are round figures, set once.
"""

_KINDS: Mapping[str, Kind] = {
    "deep_reasoning": "reasoning",
    "complex_coding": "coding",
    "classification": "extraction",
    "long_document": "extraction",
    "qa_retrieval": "stem",
    "text_generation": "writing",
}
"""The kind that a category of the task classifier stands for; acting through tools and embeddings stand for none."""

_SMALL = ("mistral-7b-instruct-v0.3", "codegemma-7b", "llama3-chatqa-1.5-70b")
_LARGE = (
    "llama-3.1-nemotron-51b-instruct",
    "llama-3.3-nemotron-super-49b-v1",
    "llama-3.1-8b-instruct",
    "qwen2.5-7b-instruct",
    "gemma-2-9b-it",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Models whose gap on one source stands for the pair's, and the kind of prompt that the source holds."""

    kind: Kind
    weak: tuple[str, ...] = _SMALL
    strong: tuple[str, ...] = _LARGE


STAND_INS: Mapping[str, StandIn] = {
    "ulab_llmrouter/gsm8k": StandIn(kind="mathematics"),
    "ulab_llmrouter/agentverse-mgsm": StandIn(kind="mathematics"),
    "ulab_llmrouter/math": StandIn(kind="mathematics"),
    "ulab_llmrouter/mbpp": StandIn(kind="coding"),
    "ulab_llmrouter/human_eval": StandIn(kind="coding"),
    "ulab_llmrouter/agentverse-logicgrid": StandIn(kind="reasoning"),
    "ulab_llmrouter/natural_qa": StandIn(kind="facts"),
    "ulab_llmrouter/trivia_qa": StandIn(kind="facts"),
    "ulab_llmrouter/commongen": StandIn(kind="writing"),
    "zeroeval/crux": StandIn(
        kind="coding",
        weak=("Mixtral-8x7B-Instruct-v0.1", "gpt-3.5-turbo-0125"),
        strong=("gpt-4-turbo-2024-04-09", "gpt-4-0314"),
    ),
    "zeroeval/math-l5": StandIn(
        kind="mathematics",
        weak=("gpt-3.5-turbo-0125", "claude-3-haiku-20240307"),
        strong=("gpt-4-turbo-2024-04-09", "gpt-4-0314"),
    ),
    "livecodebench/codegen": StandIn(
        kind="coding",
        weak=("GPT-3.5-Turbo-0125", "Command-R+"),
        strong=("GPT-4-Turbo-1106", "GPT-4-Turbo-2024-04-09"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPrompt:
    """A prompt that was written for this project to show what its kind looks like."""

    kind: Kind
    prompt: str


def written_prompts() -> Iterator[WrittenPrompt]:
    """The prompts of ``written_prompts.jsonl``, in order."""
    for line in WRITTEN_PROMPTS.read_text(encoding="utf-8").splitlines():
        yield WrittenPrompt(**json.loads(line))


def labelled_prompts(folder: Path) -> Iterator[WrittenPrompt]:
    """The task classifier's training prompts (``training/prompts``), by the kind that their category stands for.

    None where the folder is not there: an installed copy has none, and trains pairs on what else there is.
    """
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = cast("dict[str, str]", json.loads(line))
            if kind := _KINDS.get(row["category"]):
                yield WrittenPrompt(kind=kind, prompt=row["prompt"])


def prompt_files(folder: Path) -> Iterator[DataFile]:
    """The files that `written_prompts` and `labelled_prompts` read, for the manifest."""
    for path in (WRITTEN_PROMPTS, *sorted(folder.glob("*.jsonl"))):
        content = path.read_bytes()
        yield DataFile(
            name=f"{path.parent.name}/{path.name}",
            sha256=hashlib.sha256(content).hexdigest(),
            rows=len(content.splitlines()),
        )


def gap(outcome: Outcome) -> float | None:
    """By how much the strong stand-ins did better than the weak ones; ``None`` where there are none for this outcome."""
    models = STAND_INS.get(outcome.source)
    if models is None:
        return None
    weak, strong = _mean_of(models.weak, outcome.scores), _mean_of(models.strong, outcome.scores)
    return None if weak is None or strong is None else strong - weak


def _mean_of(models: tuple[str, ...], scores: Mapping[str, float]) -> float | None:
    found = [scores[model] for model in models if model in scores]
    return sum(found) / len(found) if found else None
