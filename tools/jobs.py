"""Work that outlives its call, and work by the hundred: `get_answer`, `route_batch`, the resource ``answer://{route_id}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import ConfigDict, Field, WithJsonSchema

from routing.batches import LONGEST_ITEM_TOKENS, BatchState, prompts_of
from routing.jobs import Running
from routing.pricing import spoken_usd, usd
from routing.state import BatchItem, BatchPlan
from routing.types import RouteRecord
from tools import arguments as given
from tools.base import (
    Result,
    Services,
    StrictTool,
    caller_of,
    errors_for_the_model,
    relay,
    services_of,
    strict_tool,
)
from tools.resources import Readable, errors_for_the_reader
from tools.results import MOST_ANSWER_TOKENS, answered, part_end, unanswered

AnyContext = Context[Services, Any]
_ROW_TOKENS = 120
"""What a task's row of data takes beside its text."""


BatchTerm = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
"""What a template is filled in with: ``{item}``, or ``{field}`` of an object."""


class BatchItemResult(Result):
    """What became of one task."""

    index: int
    route_id: str
    response: str
    error: str | None
    model_used: str | None
    cost_usd: float | None
    next_start_index: int | None = Field(description="get_answer has the rest from there")

    @classmethod
    def of(cls, item: BatchItem, end: int) -> BatchItemResult:
        """From what is kept of it, its answer up to ``end``."""
        return cls(
            index=item.position,
            route_id=item.route_id,
            response=item.text[:end],
            error=item.error,
            model_used=item.model_used,
            cost_usd=usd(item.cost_microusd),
            next_start_index=end if end < len(item.text) else None,
        )


class BatchResult(Result):
    """A batch and what is done of it."""

    batch_id: str
    status: Literal["running", "completed"]
    total: int
    failed: int
    items: list[BatchItemResult]
    next_start_index: int | None
    cost_usd: float | None
    savings_usd: float | None


class AnswerResult(Result):
    """A `RouteResult`: its whole schema, which route_and_answer has, would cost every host as much a second time."""

    model_config = ConfigDict(frozen=True, extra="allow")

    status: Literal["running", "completed", "partial", "failed"]


async def get_answer(
    ctx: AnyContext,
    route_id: Annotated[str, Field(description="Of the result")],
    wait_seconds: Annotated[float, Field(description="At most", ge=0)] = given.DEADLINE_SECONDS,
    start_index: Annotated[int, Field(description="next_start_index", ge=0)] = 0,
) -> Annotated[CallToolResult, AnswerResult]:
    """Wait for a running answer, or read on in a long one. Result as of route_and_answer."""
    services = services_of(ctx)
    with errors_for_the_model():
        outcome = await services.jobs.answer(route_id, caller_of(ctx), wait_seconds=wait_seconds)
    if not isinstance(outcome, RouteRecord):
        return unanswered(outcome)
    if start_index > len(outcome.text):
        raise ToolError(f"The answer ends at {len(outcome.text)}: start_index must be below that.")
    return answered(outcome, services.router.assembler.counter, start_index)


async def route_batch(
    ctx: AnyContext,
    prompts: Annotated[list[str] | None, Field(description="Tasks")] = None,
    template: Annotated[str | None, Field(description="Task with {item} or {field}")] = None,
    items: Annotated[list[BatchTerm] | None, Field(description="What fills it in")] = None,
    force_model: Annotated[str | None, Field(description="For all")] = None,
    max_cost_usd: Annotated[float | None, Field(description="Of each", ge=0, allow_inf_nan=False)] = None,
    verify: given.BatchVerify = None,
    batch_id: Annotated[str | None, Field(description="Resume, or wait for, this one")] = None,
    start_index: Annotated[int, Field(description="next_start_index", ge=0)] = 0,
) -> Annotated[CallToolResult, BatchResult]:
    """Delegate many tasks at once, each as with route_and_answer."""
    services = services_of(ctx)
    with errors_for_the_model():
        if batch_id is None:
            constraints = given.constraints_of(services.settings, force_model=force_model, max_cost_usd=max_cost_usd)
            plan = BatchPlan(
                prompts=prompts_of(prompts, template, items),
                cost_preference=constraints.cost_preference,
                self_hosted_only=constraints.self_hosted_only,
                force_model=constraints.force_model,
                max_cost_microusd=constraints.max_cost_microusd,
                verify=verify or "auto",
            )
            batch_id = await services.batches.open(caller_of(ctx), plan)
        state = await services.batches.run(
            caller_of(ctx), batch_id, relay(ctx), deadline_seconds=given.DEADLINE_SECONDS
        )
    return _told(state, services, start_index)


def _told(state: BatchState, services: Services, start: int = 0) -> CallToolResult:
    """As many of the tasks as one result holds, from ``start`` on, as text and as data."""
    counter = services.router.assembler.counter
    rows: list[BatchItemResult] = []
    room = MOST_ANSWER_TOKENS
    for item in state.items[start:]:
        end = part_end(item.text, 0, counter, LONGEST_ITEM_TOKENS)
        room -= counter.count(item.text[:end] + (item.error or "")).tokens + _ROW_TOKENS
        if room < 0 and rows:
            break
        rows.append(BatchItemResult.of(item, end))
    shown = start + len(rows)
    result = BatchResult(
        batch_id=state.batch_id,
        status="running" if state.running else "completed",
        failed=state.failed,
        total=state.total,
        items=rows,
        next_start_index=shown if shown < len(state.items) else None,
        cost_usd=usd(state.cost_microusd),
        savings_usd=usd(state.saved_microusd),
    )
    texts = [TextContent(text="\n\n".join(map(_spoken, rows))), TextContent(text=_bill(state, result))]
    return CallToolResult(
        content=[part for part in texts if part.text], structured_content=result.model_dump(mode="json")
    )


def _spoken(row: BatchItemResult) -> str:
    cut = f"\n[cut; get_answer with route_id {row.route_id} and start_index {row.next_start_index}]"
    rest = cut if row.next_start_index else ""
    return f"{row.index}. {f'FAILED: {row.error}' if row.error else row.response}{rest}"


def _bill(state: BatchState, result: BatchResult) -> str:
    done = len(state.items) - state.failed
    cost = f"{done} of {state.total} answered, {state.failed} failed, {spoken_usd(state.cost_microusd)}"
    again = {
        "running": "It goes on; the same batch_id waits for it.",
        "completed": "The same batch_id tries the failed ones again." if result.failed else "",
    }[result.status]
    more = (
        f"For more of them give batch_id and start_index {result.next_start_index}." if result.next_start_index else ""
    )
    return " ".join(part for part in (f"[{cost}, batch_id {state.batch_id}]", again, more) if part)


async def answer_resource(route_id: str, ctx: AnyContext) -> str:
    """The whole of a long answer, or of one that outlived its call."""
    with errors_for_the_reader():
        outcome = await services_of(ctx).jobs.answer(route_id, caller_of(ctx), wait_seconds=0)
    if isinstance(outcome, RouteRecord):
        return outcome.text
    raise ResourceError(
        "it is still running; get_answer waits for it" if isinstance(outcome, Running) else outcome.error
    )


def resources() -> Sequence[Readable]:
    """The resources of this page."""
    return (
        Readable(
            uri="answer://{route_id}",
            name="answer",
            title="An answer",
            mime_type="text/plain",
            goes_with="get_answer",
            read=answer_resource,
        ),
    )


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    return (
        strict_tool(get_answer, title="Get an answer", read_only=True, idempotent=True, open_world=False),
        strict_tool(route_batch, title="Delegate many tasks", read_only=False, idempotent=False, open_world=True),
    )
