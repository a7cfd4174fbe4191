"""Delegating a task, and looking before one leaps: `route_and_answer`, `classify_task`, `estimate_cost`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from routing.estimate import Estimate, estimates
from routing.pricing import spoken_usd, usd
from routing.router import Decision
from routing.types import RouteRecord, Task
from tools import arguments as given
from tools.base import Services, StrictTool, errors_for_the_model, relay, services_of, strict_tool
from tools.results import AnalysisResult, ClassifyResult, EstimateResult, ModelEstimate, RouteResult, SelectionResult

AnyContext = Context[Services, Any]
MOST_INPUT_TOKENS = 10_000_000
MOST_OUTPUT_TOKENS = 1_000_000
MOST_TURNS = 1_000_000


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
    deadline_seconds: given.Deadline = None,
    response_schema: Annotated[
        dict[str, Any] | None, Field(description="JSON schema that the answer must follow")
    ] = None,
) -> Annotated[CallToolResult, RouteResult]:
    """Delegate a self-contained task to the cheapest model that is good enough, and get its answer with what it cost and
    saved. Use it for work that does not need you: summaries, drafts, translations, extraction, classification, code to a
    clear specification, questions. It sees nothing of your conversation: put all it needs into prompt. To look at the choice
    and the price first, use classify_task or estimate_cost.
    """
    services = services_of(ctx)
    task = Task(
        prompt=prompt,
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
            deadline_seconds=deadline_seconds,
        ),
        response_schema=response_schema,
    )
    with errors_for_the_model():
        record = await services.router.route(task, relay(ctx))
    return _spoken(record)


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
    why. Calls no model and costs nothing. For prices of all models use estimate_cost.
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
        decision = await services.router.decide(Task(prompt=prompt, system=system, constraints=constraints))
    return decided(decision)


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
    with errors_for_the_model():
        estimate = await estimates(
            services.router,
            Task(prompt=prompt, constraints=given.constraints_of(services.settings)) if prompt else None,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            turns=turns,
            models=models,
        )
    return estimated(estimate)


def _spoken(record: RouteRecord) -> CallToolResult:
    """The answer as text, and everything as data."""
    result = RouteResult.of(record)
    bill = f"{result.model_used}, {spoken_usd(record.cost_microusd)}, session_id {result.session_id}"
    notices = "".join(f"\nNote: {notice}" for notice in record.notices)
    pictures = [
        ImageContent(data=base64.b64encode(image.data).decode("ascii"), mime_type=image.media_type)
        for image in record.images
    ]
    return CallToolResult(
        content=[TextContent(text=record.text), *pictures, TextContent(text=f"[{bill}]{notices}")],
        structured_content=result.model_dump(mode="json"),
    )


def decided(decision: Decision) -> ClassifyResult:
    """A decision as data."""
    return ClassifyResult(
        task_analysis=AnalysisResult.of(decision.analysis), model_selection=SelectionResult.of(decision.selection)
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
