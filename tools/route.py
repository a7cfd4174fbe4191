"""Delegating a task, and looking before one leaps: `route_and_answer`, `classify_task`, `estimate_cost`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from mcp.server.elicitation import AcceptedElicitation, render_elicitation_schema
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

from routing.errors import BudgetExceeded
from routing.estimate import Estimate, estimates
from routing.jobs import Running, Work
from routing.pricing import usd
from routing.router import Decision
from routing.types import RouteRecord, Task
from tools import arguments as given
from tools.base import (
    Services,
    StrictTool,
    caller_of,
    errors_for_the_model,
    host_of,
    relay,
    services_of,
    strict_tool,
)
from tools.results import (
    LONGEST_STEP_CHARS,
    AnalysisResult,
    ClassifyResult,
    EstimateResult,
    ModelEstimate,
    RouteResult,
    SelectionResult,
    answered,
    part_end,
    unanswered,
)

AnyContext = Context[Services, Any]
MOST_INPUT_TOKENS = 10_000_000
MOST_OUTPUT_TOKENS = 1_000_000
MOST_TURNS = 1_000_000
_QUESTION = "go_on_beyond_the_budget"


async def route_and_answer(
    ctx: AnyContext,
    prompt: given.Prompt,
    system: given.System = None,
    session_id: given.SessionId = None,
    history: given.History = None,
    images: given.Images = None,
    texts: given.Texts = None,
    tools: given.Tools = None,
    cost_preference: given.Preference = None,
    force_model: given.ForceModel = None,
    self_hosted_only: given.SelfHostedOnly = None,
    allowed_providers: given.Allowed = None,
    denied_providers: given.Denied = None,
    max_tokens: given.MaxTokens = None,
    max_cost_usd: given.MaxCost = None,
    max_latency_ms: given.MaxLatency = None,
    min_quality: given.MinQuality = None,
    deadline_seconds: given.Deadline = given.DEADLINE_SECONDS,
    detach: given.Detach = False,
    verify: given.Verify = "auto",
    tests: given.Tests = None,
    criteria: given.Criteria = None,
    response_schema: Annotated[dict[str, Any] | None, Field(description="JSON schema of the answer")] = None,
    pattern: given.PatternOf = None,
) -> Annotated[CallToolResult, RouteResult] | InputRequiredResult:
    """Delegate a self-contained task to the cheapest model that is good enough, and get its answer with what it cost and
    saved. Use it for work that does not need you: summaries, drafts, translations, extraction, classification, code to a
    clear specification, questions. It sees nothing of your conversation: put all it needs into prompt. To look at the choice
    and the price first, use classify_task or estimate_cost.
    """
    services = services_of(ctx)
    task = Task(
        prompt=prompt,
        caller=caller_of(ctx),
        system=system,
        session_id=session_id,
        history=given.messages_of(history),
        images=given.images_of(images),
        texts=tuple(texts or ()),
        tools=None if tools is None else tuple(tools),
        constraints=given.constraints_of(
            services.settings,
            cost_preference=cost_preference,
            force_model=force_model,
            self_hosted_only=self_hosted_only,
            allowed_providers=allowed_providers,
            denied_providers=denied_providers,
            max_tokens=max_tokens,
            max_cost_usd=max_cost_usd,
            max_latency_ms=max_latency_ms,
            min_quality=min_quality,
        ),
        response_schema=response_schema,
        verify=verify,
        tests=tests or "",
        criteria=criteria or "",
    )
    counter = services.router.assembler.counter
    with errors_for_the_model():
        work = None if pattern is None else by_pattern(pattern, services)
        outcome = await _routed(ctx, task, work, deadline_seconds=deadline_seconds, detach=detach)
        if isinstance(outcome, InputRequiredResult):
            return outcome
        if isinstance(outcome, Running):
            return unanswered(outcome)
        if part_end(outcome.text, 0, counter) < len(outcome.text):
            await services.jobs.keep(outcome)
    return answered(outcome, counter)


def by_pattern(document: Mapping[str, Any], services: Services) -> Work:
    """Have a task answered by a pattern.

    Raises:
        InvalidTask: there is no such pattern; the message says what there is.

    """
    from routing.patterns import Patterns, parse  # noqa: PLC0415 - most tasks follow none

    async def keep(record: RouteRecord) -> None:
        if len(record.text) > LONGEST_STEP_CHARS:
            await services.jobs.keep(record)

    return functools.partial(Patterns(router=services.router, keep=keep).run, parse(document))


class GoOn(BaseModel):
    """What a person is asked."""

    go_on: bool = Field(title="Go on all the same", description="This task only. It is booked as any other.")


async def _routed(
    ctx: AnyContext, task: Task, work: Work | None, *, deadline_seconds: float, detach: bool
) -> RouteRecord | Running | InputRequiredResult:
    """Route a task; where a budget does not allow it, ask the host's user, if the host can, whether to go on."""
    jobs, on_progress = services_of(ctx).jobs, relay(ctx)
    said = _said_already(ctx)
    if said:
        task = replace(task, beyond_budgets=True)
    try:
        return await jobs.route(task, on_progress, deadline_seconds=deadline_seconds, detach=detach, work=work)
    except BudgetExceeded as refusal:
        if said is not None or not refusal.negotiable or not _can_ask(ctx):
            raise
        question = f"{refusal} Go on with this task all the same?"
        if ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return _question(question)
        answer = await ctx.elicit(question, GoOn)
        if not (isinstance(answer, AcceptedElicitation) and answer.data.go_on):
            raise
    task = replace(task, beyond_budgets=True)
    return await jobs.route(task, on_progress, deadline_seconds=deadline_seconds, detach=detach, work=work)


def _can_ask(ctx: AnyContext) -> bool:
    capabilities = ctx.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def _question(message: str) -> InputRequiredResult:
    """The question as newer hosts get it: they ask, and make the call again with the answer."""
    schema = render_elicitation_schema(GoOn)
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return InputRequiredResult(input_requests={_QUESTION: ElicitRequest(params=params)}, request_state=_QUESTION)


def _said_already(ctx: AnyContext) -> bool | None:
    """What the person said to the question that this call is made again with; ``None`` where none was asked.

    The state that comes back is sealed by the SDK: an answer to a question that was never asked does not count.
    """
    if ctx.request_state != _QUESTION:
        return None
    answer = (ctx.input_responses or {}).get(_QUESTION)
    if not isinstance(answer, ElicitResult) or answer.action != "accept":
        return False
    return (answer.content or {}).get("go_on") is True


async def classify_task(
    ctx: AnyContext,
    prompt: given.Prompt,
    system: given.System = None,
    cost_preference: given.Preference = None,
    self_hosted_only: given.SelfHostedOnly = None,
    allowed_providers: given.Allowed = None,
    denied_providers: given.Denied = None,
    max_cost_usd: given.MaxCost = None,
) -> ClassifyResult:
    """Say what kind of task this is (eight categories, complexity 1-5) and which model route_and_answer would choose, and
    why, and whether to delegate it at all. Calls no model and costs nothing. For prices of all models use estimate_cost.
    """
    services = services_of(ctx)
    constraints = given.constraints_of(
        services.settings,
        cost_preference=cost_preference,
        self_hosted_only=self_hosted_only,
        allowed_providers=allowed_providers,
        denied_providers=denied_providers,
        max_cost_usd=max_cost_usd,
    )
    with errors_for_the_model():
        task = Task(prompt=prompt, caller=caller_of(ctx), system=system, constraints=constraints)
        decision = await services.router.decide(task)
    return decided(task, decision, services)


async def estimate_cost(
    ctx: AnyContext,
    prompt: Annotated[
        given.Prompt | None, Field(description="The task; or give input_tokens and output_tokens")
    ] = None,
    input_tokens: Annotated[int | None, Field(description="Per turn", ge=0, le=MOST_INPUT_TOKENS)] = None,
    output_tokens: Annotated[int | None, Field(description="Per turn", ge=0, le=MOST_OUTPUT_TOKENS)] = None,
    turns: Annotated[int, Field(description="How often it is done", ge=1, le=MOST_TURNS)] = 1,
    models: Annotated[list[str] | None, Field(description="Model ids; default: every configured model")] = None,
) -> EstimateResult:
    """Estimate what a task would cost and how long it would take, on the model that would be chosen and on the others.
    Calls no model and costs nothing. Tokens are counted from the prompt unless you give them. To get the task done use
    route_and_answer.
    """
    if prompt is None and (input_tokens is None or output_tokens is None):
        raise ToolError(
            "Give prompt, or both input_tokens and output_tokens. The same call again will fail the same way."
        )
    services = services_of(ctx)
    constraints, caller = given.constraints_of(services.settings), caller_of(ctx)
    with errors_for_the_model():
        estimate = await estimates(
            services.router,
            Task(prompt=prompt, caller=caller, constraints=constraints) if prompt else None,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            turns=turns,
            models=models,
        )
    return estimated(estimate)


def decided(task: Task, decision: Decision, services: Services) -> ClassifyResult:
    """A decision as data, with the advice to delegate or not."""
    from routing.delegation import advice_on  # noqa: PLC0415 - compiling its patterns can wait for the first call

    advice = advice_on(task, decision, host_of(services, decision.catalog))
    return ClassifyResult(
        task_analysis=AnalysisResult.of(decision.analysis),
        model_selection=SelectionResult.of(decision.selection),
        delegate=advice.delegate,
        delegate_reason=advice.reason,
    )


def estimated(estimate: Estimate) -> EstimateResult:
    """An estimate as data."""
    return EstimateResult(
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        turns=estimate.turns,
        input_tokens_exact=estimate.input_tokens_exact,
        chosen_model=estimate.chosen_model,
        models=[
            ModelEstimate(
                model_id=row.model.model_id,
                tier=row.model.tier,
                cost_usd=usd(row.cost_microusd),
                low_cost_usd=usd(row.low_microusd),
                worst_cost_usd=usd(row.worst_microusd),
                latency_ms=row.latency_ms,
                configured=estimate.catalog.is_configured(row.model),
                chosen=row.model.model_id == estimate.chosen_model,
            )
            for row in estimate.rows
        ],
    )


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    look = {"read_only": True, "idempotent": True, "open_world": False}
    return (
        strict_tool(route_and_answer, title="Delegate a task", read_only=False, idempotent=False, open_world=True),
        strict_tool(classify_task, title="Classify a task", **look),
        strict_tool(estimate_cost, title="Estimate the cost", **look),
    )
