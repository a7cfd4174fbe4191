"""The values that flow through the pipeline.

    Task ─analyze→ TaskAnalysis ─select→ ModelSelection ─assemble→ ModelRequest ─dispatch→ ModelResponse ─record→ RouteRecord

All of them are frozen, so a stage can hand on what it got without a copy. Money is integer micro-dollars (``_microusd``):
1 USD = 1,000,000. Durations are milliseconds (``_ms``) or seconds (``_seconds``); token counts are plain integers.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

Category = Literal[
    "deep_reasoning",
    "complex_coding",
    "long_document",
    "agentic_tool_use",
    "qa_retrieval",
    "text_generation",
    "classification",
    "embedding",
]
Complexity = Literal[1, 2, 3, 4, 5]
Tier = Literal[1, 2, 3, 4]
CostPreference = Literal["cheapest", "balanced", "best_quality"]
Pattern = Literal[
    "augmented",
    "prompt_chaining",
    "routing",
    "parallelization",
    "orchestrator_workers",
    "evaluator_optimizer",
]
Role = Literal["single", "planner", "worker", "classifier", "evaluator", "optimizer", "synthesizer"]
MessageRole = Literal["system", "user", "assistant", "tool"]
Thinking = Literal["none", "adaptive", "effort", "budget", "level", "always"]
Effort = Literal["none", "low", "medium", "high"]
FinishReason = Literal["stop", "length", "content_filter", "tool_call", "error"]
AttemptOutcome = Literal["answered", "failed", "cancelled"]
RouteOutcome = Literal["completed", "failed", "cancelled"]
EmbeddingForm = Literal["vectors", "ranking", "pairs"]
AnalyzerMode = Literal["auto", "rules", "learned", "model"]
SensitivePolicy = Literal["allow", "notice", "local_only"]
OutagePolicy = Literal["closed", "open"]
Vector = tuple[float, ...]

CATEGORIES: tuple[Category, ...] = get_args(Category)
COST_PREFERENCES: tuple[CostPreference, ...] = get_args(CostPreference)

LOCAL_CALLER = "local"
"""The owner of everything made by a caller who needs no credentials: stdio and the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to call a tool; ``arguments`` is the JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture that a message shows; ``data`` is the file's bytes."""

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTurn:
    """An assistant's turn in the form of the wire it came over: thought signatures must be sent back as they were.

    Only an adapter of the same ``protocol`` reads ``content``; every other one builds the turn from the message's text.
    """

    protocol: str
    content: object = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: MessageRole
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    images: tuple[Image, ...] = ()
    native: NativeTurn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it, in MCP's own terms; ``input_schema`` is a JSON schema of an object."""

    name: str
    description: str
    input_schema: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What the caller insists on. ``None`` and empty mean "no wish"."""

    cost_preference: CostPreference = "balanced"
    self_hosted_only: bool = False
    force_model: str | None = None
    allowed_providers: frozenset[str] = frozenset()
    denied_providers: frozenset[str] = frozenset()
    max_tokens: int | None = None
    max_cost_microusd: int | None = None
    max_latency_ms: int | None = None
    min_quality: float | None = None
    deadline_seconds: float | None = None
    denied_models: frozenset[str] = frozenset()


VerifyMode = Literal["auto", "none", "schema", "code", "self", "custom"]
"""``auto``: by the checks that the registry gives the category; what fails one is mended, or a stronger model is asked.

``schema`` and ``code``: by these alone. ``self``: as ``auto``, and where no check applies, whether samples of the cheap model
agree. ``custom``: as ``auto``, and then by the caller's criteria, as another model judges.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a caller hands over. ``history`` is ``None`` where the session's own history should be used.

    ``tools`` are those that the model may use, ``None`` the ones that fit the task. ``texts`` are for an embedding model;
    ``prompt`` then says what is wanted of them. ``verify`` says whether the answer is checked by machine.
    ``beyond_budgets`` where a person allowed it to exceed those of the settings. ``parent_id`` is the route of which it is a
    step; ``pattern`` is what that route follows, and ``role`` what the step does in it, which the selector heeds.
    """

    prompt: str
    system: str | None = None
    session_id: str | None = None
    history: tuple[Message, ...] | None = None
    constraints: Constraints = field(default_factory=Constraints)
    tools: tuple[str, ...] | None = None
    images: tuple[Image, ...] = ()
    texts: tuple[str, ...] = ()
    response_schema: Mapping[str, object] | None = None
    verify: VerifyMode = "auto"
    tests: str = ""
    criteria: str = ""
    samples: int | None = None
    beyond_budgets: bool = False
    parent_id: str | None = None
    pattern: Pattern | None = None
    role: Role | None = None
    caller: str = LOCAL_CALLER


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """A number of tokens; ``exact`` is false where it was estimated rather than encoded."""

    tokens: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnalysis:
    """What the analyzer understood of a task.

    ``confidence`` is the probability (0 to 1) that ``category`` is right; ``reasoning`` says in one line what it was
    read from. ``analyzer`` says who decided: rules, learned or model. ``tools_named`` are tools that the prompt asks for in so
    many words. ``profile`` is the specialised agent of the registry that the message is for, where profiles are looked for.

    ``estimated_input_tokens`` covers system, history and prompt (or the texts that are to be embedded, of which
    ``longest_text_tokens`` is the longest); ``history_tokens`` is the part of it that can be left out where a window is too
    small for all.
    """

    category: Category
    complexity: Complexity
    confidence: float
    estimated_input_tokens: int
    estimated_output_tokens: int
    input_tokens_exact: bool
    history_tokens: int = 0
    longest_text_tokens: int = 0
    requires_long_context: bool = False
    requires_tool_use: bool = False
    tools_named: tuple[str, ...] = ()
    requires_vision: bool = False
    math_heavy: bool = False
    pattern: Pattern = "augmented"
    role: Role = "single"
    language: str = "en"
    sensitive: bool = False
    profile: str | None = None
    analyzer: str = "rules"
    reasoning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A model that was not chosen, and the one line why; ``configured`` is false where its provider cannot be called."""

    model_id: str
    reason: str
    configured: bool = True


SelectionPolicy = Literal["forced", "matrix", "learned", "explored"]
"""Who chose: the caller, the matrix and its tiers, the predicted qualities, or chance among the models that clear the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSelection:
    """The selector's decision. ``fallback_models`` are tried in order when ``primary_model`` fails.

    ``estimated_cost_microusd`` is ``None`` where the price of the model is unknown. ``notices`` is what the caller should
    be told about the choice. ``reference_model`` is what the matrix would have taken; ``forecasts`` are the predicted
    qualities (0 to 1) of the models that were weighed, and ``propensity`` is how probable this choice was among them.
    """

    primary_model: str
    provider: str
    fallback_models: tuple[str, ...]
    estimated_cost_microusd: int | None
    reasoning: str
    rejections: tuple[Rejection, ...] = ()
    notices: tuple[str, ...] = ()
    policy: SelectionPolicy = "matrix"
    reference_model: str | None = None
    forecasts: Mapping[str, float] = field(default_factory=dict[str, float])
    propensity: float = 1.0

    @property
    def candidates(self) -> tuple[str, ...]:
        """The primary model and its fallbacks, in the order they are tried."""
        return (self.primary_model, *self.fallback_models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one upstream call consumed, in the one convention that every adapter translates to.

    ``input_tokens`` includes what was read from and written to the provider's cache; ``output_tokens`` includes
    ``reasoning_tokens``. ``estimated`` is true where the provider reported nothing and we counted.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )


NO_USAGE = Usage(input_tokens=0, output_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a provider is reached, and over which wire. The key stays out of every printed form."""

    protocol: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model that a request goes to, with the registry's facts that shape the request on its wire."""

    model_id: str
    provider: str
    api_model_id: str
    max_output_tokens: int
    max_tokens_parameter: str
    json_schema: bool
    thinking: Thinking = "none"
    effort: Effort = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request, complete but for the model that it goes to: the same one is sent to each candidate in turn.

    ``max_output_tokens`` is the caller's or the category's bound, before a model's own limit is applied. Where
    ``tools_forbidden``, the tools are named (the conversation speaks of them) and must not be called any more. Where there are
    ``texts``, their embeddings are asked for, and nothing else of the request counts.
    """

    messages: tuple[Message, ...]
    system: str
    max_output_tokens: int
    tools: tuple[ToolSpec, ...] = ()
    tools_forbidden: bool = False
    texts: tuple[str, ...] = ()
    response_schema: Mapping[str, object] | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What a provider's headers say is left of its rate limit; ``None`` is what they do not say."""

    requests_left: int | None = None
    tokens_left: int | None = None
    renewed_in_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """What a model answered. ``usage`` is ``None`` where the provider reported none; ``vectors`` are those of the texts.

    ``api_model_id`` is the model as the answer itself names it, which may be a dated version of the one that was asked.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage | None
    tool_calls: tuple[ToolCall, ...] = ()
    vectors: tuple[Vector, ...] = field(default=(), repr=False)
    native: NativeTurn | None = None
    headroom: Headroom | None = None
    api_model_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """How near in meaning a text is to the query, or to the text at index ``other``: the cosine, -1 to 1."""

    text: int
    similarity: float
    other: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """What an embedding model found: the vectors of the texts, their ranking by a query, or the pairs of like ones."""

    form: EmbeddingForm
    texts: tuple[str, ...]
    vectors: tuple[Vector, ...] = field(default=(), repr=False)
    similarities: tuple[Similarity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What a tool returned to the model that called it; ``is_error`` where it failed. ``images`` go to the caller."""

    text: str
    is_error: bool = False
    images: tuple[Image, ...] = ()
    cost_microusd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """One call of a tool by a model, for the record; what it cost is what a search engine takes."""

    name: str
    is_error: bool
    latency_ms: int
    cost_microusd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, the model that gave it, and what it consumed: as the provider reported it, or as we counted."""

    model_id: str
    response: ModelResponse
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The last answer of a model, and the pictures that its tools made on the way there."""

    answer: Answer
    images: tuple[Image, ...] = ()


MachineCheck = Literal[
    "complete", "answered", "schema", "code", "tests", "arithmetic", "units", "quotations", "language", "length"
]
CheckName = Literal[MachineCheck, "agreement", "judged"]
Verdict = Literal["failed", "verified", "agreed", "judged", "unchecked"]

SAYS_NOTHING_OF_QUALITY: frozenset[CheckName] = frozenset({"complete", "answered"})
OPINIONS: frozenset[CheckName] = frozenset({"agreement", "judged"})
"""What models think of an answer. It may be wrong, so it is never called verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether an answer passed a check; ``detail`` is what was found, in words that help to mend it."""

    check: CheckName
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationStep:
    """An answer that was checked on the way to the one that was returned, and what its calls cost.

    ``cost_microusd`` is ``None`` where a price is unknown; ``checks_microusd`` is the part of it that samples and judges cost.
    ``returned`` is true of the answer that the caller got.
    """

    kind: Literal["answer", "repair", "escalation"]
    model_id: str
    findings: tuple[Finding, ...]
    cost_microusd: int | None
    checks_microusd: int | None = 0
    returned: bool = False

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that it did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def telling(self) -> tuple[Finding, ...]:
        """The findings that say more than that there is an answer."""
        return tuple(finding for finding in self.findings if finding.check not in SAYS_NOTHING_OF_QUALITY)

    @property
    def verdict(self) -> Verdict:
        """What the checks amount to: ``verified`` only where a machine checked its content or form, and all of it held."""
        names = {finding.check for finding in self.telling}
        if self.failed:
            return "failed"
        if "judged" in names:
            return "judged"
        if "agreement" in names:
            return "agreed"
        return "verified" if names else "unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One upstream call, booked whether it answered or not.

    ``cost_microusd`` is ``None`` where the price is unknown. ``error`` is the class and message of what went wrong, with
    credentials removed.
    """

    model_id: str
    provider: str
    outcome: AttemptOutcome
    started_at: float
    latency_ms: int
    usage: Usage
    cost_microusd: int | None
    first_token_ms: int | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None


StepStatus = Literal["completed", "rejected", "failed", "cancelled", "skipped"]
"""What became of a step. ``rejected``: its answer did not pass its gate; ``skipped``: it was never begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternStep:
    """One step of a route that followed a pattern: a route of its own, whose figures these are.

    ``route_id`` is ``None`` where it never became a route. ``detail`` is what is to be said of it: an error, what a gate found,
    a judge's verdict. Steps of one ``name`` are tries of the same work, of which the last counts.
    """

    name: str
    role: Role
    status: StepStatus
    route_id: str | None = None
    model_used: str | None = None
    text: str = ""
    detail: str = ""
    latency_ms: int = 0
    usage: Usage = NO_USAGE
    cost_microusd: int | None = 0
    baseline_model: str | None = None
    baseline_cost_microusd: int | None = None


CachedBy = Literal["exact", "semantic"]
"""How an earlier answer to a task was found: by the very same words, or by the same meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRecord:
    """One task from arrival to answer: what the ledger keeps and what a caller is told.

    Figures are sums over all attempts, the cost also over the tools that were used. ``baseline_*`` is what the same tokens
    would have cost on the baseline model; it is ``None`` where none has a known price. ``parent_id`` is the route that this one
    was a step of, whose figures are its own alone; ``cached`` says how an earlier answer was found that was given again.
    ``prompt`` is there only where the user has it kept. ``pattern`` is what its ``steps`` followed, where it has any; the
    ledger keeps those as routes of their own.
    """

    route_id: str
    caller: str
    session_id: str
    started_at: float
    latency_ms: int
    outcome: RouteOutcome
    prompt_sha256: str
    analysis: TaskAnalysis | None = None
    selection: ModelSelection | None = None
    attempts: tuple[Attempt, ...] = ()
    model_used: str | None = None
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage = NO_USAGE
    cost_microusd: int | None = 0
    baseline_model: str | None = None
    baseline_cost_microusd: int | None = None
    tools: tuple[ToolUse, ...] = ()
    images: tuple[Image, ...] = ()
    embeddings: Embeddings | None = None
    verification: tuple[VerificationStep, ...] = ()
    error: str | None = None
    notices: tuple[str, ...] = ()
    parent_id: str | None = None
    cached: CachedBy | None = None
    prompt: str | None = field(default=None, repr=False)
    pattern: Pattern | None = None
    steps: tuple[PatternStep, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether the work of some step is missing from the answer."""
        last = {step.name: step.status for step in self.steps}
        return any(status != "completed" for status in last.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A sign of life on long work: ``done`` of ``total`` in ``unit``; ``total`` is ``None`` where nobody knows."""

    message: str
    done: float = 0
    total: float | None = None
    unit: Literal["step", "token", "byte"] = "step"


OnProgress = Callable[[Progress], Awaitable[None]]
"""Told of progress. It may be slow or fail; the work goes on at its own pace."""

OnText = Callable[[str], Awaitable[None]]
"""Told of each piece of text as the provider streams it; an empty one is a sign of life (reasoning, a tool call)."""


class Analyzer(Protocol):
    """Stage 1. Understands a task. ``notices`` are what every caller should know of how well it can, now."""

    @property
    def notices(self) -> tuple[str, ...]: ...

    async def analyze(self, task: Task) -> TaskAnalysis: ...


class Provider(Protocol):
    """The one seam to a provider's API: one implementation per wire protocol.

    ``send`` streams, ``embed`` makes vectors of the request's texts, ``check`` asks for a sign of life that costs nothing; all
    raise nothing but `routing.errors.ProviderError`s (and let cancellation through).
    """

    @property
    def name(self) -> str: ...

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse: ...

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse: ...

    async def check(self, target: Target) -> None: ...

    async def aclose(self) -> None: ...


class Toolbox(Protocol):
    """The tools that this server can run for a model: ``specs`` are those that were found to be able when last `look`ed at."""

    @property
    def specs(self) -> Mapping[str, ToolSpec]: ...

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome: ...
