"""The analyzer that needs no model: evidence from words and shapes, added up.

Each cue of the lexicon and each signal that a prompt shows adds its log-odds to the categories that it speaks for; a softmax
over the sums is the confidence. The instruction counts in full, the system prompt a little, and what is pasted hardly at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from routing.analyzer.effort import Demands, complexity_of, constraints_listed, output_tokens, questions_asked
from routing.analyzer.language import language_of
from routing.analyzer.lexicon import Cue, Trait
from routing.analyzer.named_tools import tools_named
from routing.analyzer.reading import Reading, read
from routing.analyzer.sensitive import sensitive_in
from routing.analyzer.signals import Signal, signals_in, weight_of_length
from routing.analyzer.wording import LEXICON, Found, Place, is_greeting
from routing.types import CATEGORIES, Category, Complexity, Pattern, Role, Task, TaskAnalysis, TokenCount

LONG_CONTEXT_TOKENS = 60_000
"""Above this many input tokens a task needs a long window."""

PRIOR: Mapping[Category, float] = {
    # Log-odds before anything is read.
    "deep_reasoning": 0.1,
    "complex_coding": 0.1,
    "long_document": -0.4,
    "agentic_tool_use": 0.0,
    "qa_retrieval": 0.8,
    "text_generation": 0.5,
    "classification": 0.1,
    "embedding": -0.3,
}

TIMELESS: frozenset[Category] = frozenset(("complex_coding", "classification", "embedding"))

GREETING_WEIGHT = 4.0
SYSTEM_SHARE = 0.4
PASTE_SHARE = 0.12
PLACE_SHARE: Mapping[Place, float] = {Place.OPENS_SENTENCE: 1.0, Place.OPENS_CLAUSE: 0.75, Place.INSIDE: 0.25}
"""What a leading cue counts by where it stands."""

REPEAT_BONUS = 0.3
MOST_REPEATS = 3
TOOLS_WANTED = 0.8
TOOL_NAMED = 3.0
SCHEMA_WANTED = 0.7

_SYSTEM_CHARS = 1_500
_REASONING_CHARS = 200
_REASONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that was noticed, and the log-odds that it adds."""

    label: str
    weights: Mapping[Category, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What the rules make of a prompt. ``confidence`` is the share of ``category`` in ``shares``; they sum to 1."""

    category: Category
    confidence: float
    complexity: Complexity
    shares: Mapping[Category, float]
    traits: frozenset[Trait]
    pattern: Pattern
    role: Role
    because: tuple[str, ...]
    reading: Reading
    demands: Demands
    tools_named: tuple[str, ...]


_LOOKING = ("web_search", "memory_search")
"""Every category has these; a prompt that names another tool wants something done."""


def classify(prompt: str, *, system: str = "", tools: Iterable[str] = (), schema: bool = False) -> Classification:
    """Tell the category and complexity of a prompt. Pure; takes the same time however long the prompt is."""
    reading = read(prompt)
    named = tools_named(reading.asked)
    acting = acting_in(named)
    words = LEXICON.find(reading.asked)
    context = LEXICON.find(system[:_SYSTEM_CHARS])
    signals = tuple(signals_in(reading))
    greeting = is_greeting(prompt)
    evidence = [
        *map(_from_words, words.values()),
        *(Evidence(label=signal.label, weights=signal.weights) for signal in signals),
        *_from_paste(reading),
        *(_faint(found, SYSTEM_SHARE, "the system prompt") for found in context.values()),
        *_from_wishes(tools, schema=schema, greeting=greeting),
        *([Evidence(label=f"asks for {acting[0]}", weights={"agentic_tool_use": TOOL_NAMED})] if acting else []),
    ]
    shares = shares_of(evidence)
    category = max(CATEGORIES, key=shares.__getitem__)
    traits = _traits(words.values(), signals)
    demands = _demands(category, reading, words, math_heavy=_math_heavy(category, traits), trivial=greeting)
    cues = [found.cue for found in (*words.values(), *context.values())]
    return Classification(
        category=category,
        confidence=shares[category],
        complexity=complexity_of(demands),
        shares=shares,
        traits=traits,
        pattern=_pattern(cues),
        role=_role(cues),
        because=_strongest(evidence, category),
        reading=reading,
        demands=demands,
        tools_named=named,
    )


def acting_in(named: Iterable[str]) -> list[str]:
    """Of the tools that a prompt names, those that do more than look something up."""
    return [name for name in named if name not in _LOOKING]


def shares_of(evidence: Iterable[Evidence]) -> dict[Category, float]:
    """Add the evidence to the prior, and turn log-odds into shares that sum to 1."""
    scores: dict[Category, float] = dict(PRIOR)
    for piece in evidence:
        for category, weight in piece.weights.items():
            scores[category] += weight
    top = max(scores.values())
    odds: dict[Category, float] = {category: math.exp(score - top) for category, score in scores.items()}
    total = sum(odds.values())
    for category in odds:
        odds[category] /= total
    return odds


def analysis_of(task: Task, found: Classification, tokens: TokenCount) -> TaskAnalysis:
    """Put what was found and counted into the pipeline's terms."""
    secrets = sensitive_in(f"{task.system or ''}\n{task.prompt}") or sensitive_in(_brought_along(task))
    echoed = tokens.tokens if "echo" in found.traits and found.category == "text_generation" else 0
    expected = output_tokens(found.category, found.complexity, found.reading.asked, echoed)
    return TaskAnalysis(
        category=found.category,
        complexity=found.complexity,
        confidence=round(found.confidence, 4),
        estimated_input_tokens=tokens.tokens,
        estimated_output_tokens=min(expected, task.constraints.max_tokens or expected),
        input_tokens_exact=tokens.exact,
        requires_long_context=tokens.tokens > LONG_CONTEXT_TOKENS,
        requires_tool_use=_needs_tools(found),
        tools_named=found.tools_named,
        requires_vision="vision" in found.traits,
        math_heavy=_math_heavy(found.category, found.traits),
        pattern=found.pattern,
        role=found.role,
        language=language_of(found.reading.asked),
        sensitive=bool(secrets),
        analyzer="rules",
        reasoning=_reasoning(found, secrets),
    )


def _brought_along(task: Task) -> str:
    """What else a model would be shown."""
    return "\n".join([*(message.content for message in task.history or ()), *task.texts])


def _math_heavy(category: Category, traits: frozenset[Trait]) -> bool:
    return category == "deep_reasoning" and "math" in traits


def _needs_tools(found: Classification) -> bool:
    """What changes daily has to be looked up, except by those who only write code or label text about it."""
    live = "live" in found.traits and found.category not in TIMELESS
    return live or found.category == "agentic_tool_use" or bool(found.tools_named)


def _from_words(found: Found) -> Evidence:
    full = PLACE_SHARE[found.place] if found.cue.leads else 1.0
    strength = full * (1 + REPEAT_BONUS * min(MOST_REPEATS, len(found.entries) - 1))
    return Evidence(label=_named(found), weights=_scaled(found.cue, strength))


def _from_paste(reading: Reading) -> list[Evidence]:
    words = [found for found in LEXICON.find(reading.given).values() if not found.cue.leads]
    length = weight_of_length(reading.given_chars)
    return [
        *(_faint(found, PASTE_SHARE, "the paste") for found in words),
        *([Evidence(label="a long paste", weights={"long_document": length})] if length else []),
    ]


def _from_wishes(tools: Iterable[str], *, schema: bool, greeting: bool) -> list[Evidence]:
    wishes = (
        (any(tools), Evidence(label="tools wanted", weights={"agentic_tool_use": TOOLS_WANTED})),
        (schema, Evidence(label="schema wanted", weights={"classification": SCHEMA_WANTED})),
        (greeting, Evidence(label="greeting", weights={"qa_retrieval": GREETING_WEIGHT})),
    )
    return [evidence for wished, evidence in wishes if wished]


def _faint(found: Found, share: float, where: str) -> Evidence:
    return Evidence(label=f"{found.cue.label} in {where}", weights=_scaled(found.cue, share))


def _scaled(cue: Cue, strength: float) -> dict[Category, float]:
    return {category: weight * strength for category, weight in cue.weights.items()}


def _demands(
    category: Category, reading: Reading, words: Mapping[str, Found], *, math_heavy: bool, trivial: bool
) -> Demands:
    counts = Counter[Trait]()
    for found in words.values():
        if found.cue.trait:
            counts[found.cue.trait] += len(found.entries)
    return Demands(
        category=category,
        asked_chars=len(reading.asked),
        given_chars=reading.given_chars,
        hard=counts["hard"],
        easy=counts["easy"],
        large=counts["large"],
        steps=counts["step"],
        constraints=counts["constraint"] + constraints_listed(reading.asked),
        questions=questions_asked(reading.asked),
        math=math_heavy,
        trivial=trivial,
    )


def _traits(words: Iterable[Found], signals: Iterable[Signal]) -> frozenset[Trait]:
    named: list[Trait | None] = [*(found.cue.trait for found in words), *(signal.trait for signal in signals)]
    return frozenset[Trait](trait for trait in named if trait)


def _pattern(cues: Iterable[Cue]) -> Pattern:
    named: list[Pattern] = [cue.pattern for cue in cues if cue.pattern]
    return named[0] if named else "augmented"


def _role(cues: Iterable[Cue]) -> Role:
    named: list[Role] = [cue.role for cue in cues if cue.role]
    return named[0] if named else "single"


def _strongest(evidence: Iterable[Evidence], category: Category) -> tuple[str, ...]:
    speaking = sorted(
        (piece for piece in evidence if piece.weights.get(category, 0) > 0), key=lambda piece: -piece.weights[category]
    )
    return tuple(piece.label for piece in speaking[:_REASONS])


def _named(found: Found) -> str:
    """A cue and the first of its entries that was met: our own words, never the prompt's."""
    entry = next(iter(found.entries))
    return f'{found.cue.label} "{entry}"' if entry.isascii() else found.cue.label


def _reasoning(found: Classification, secrets: tuple[str, ...]) -> str:
    demands = found.demands
    amounts = {"constraints": demands.constraints, "steps": demands.steps, "hard words": demands.hard}
    counted = ", ".join(f"{amount} {name}" for name, amount in amounts.items() if amount)
    because = ", ".join(found.because) or "no evidence"
    line = f"{found.category} {found.confidence:.2f} ({because}); complexity {found.complexity}"
    line += f" ({counted})" if counted else ""
    line += f"; holds {', '.join(secrets)}" if secrets else ""
    return line[:_REASONING_CHARS]
