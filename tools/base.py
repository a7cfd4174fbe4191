"""What every MCP tool shares: strict arguments, errors a model can act on, progress, and the services behind them."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import principal_components
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from starlette.requests import Request

from routing.batches import BatchRunner
from routing.catalog import Catalog, CatalogSource
from routing.embedded.runtime import EmbeddedRuntime
from routing.errors import (
    AllModelsFailed,
    BudgetExceeded,
    DeadlineExceeded,
    ProviderError,
    RoutingError,
    StoreUnavailable,
    ToolFailed,
)
from routing.guard import LedgerGuard
from routing.jobs import JobRunner
from routing.report import Host
from routing.router import Router
from routing.settings import Settings
from routing.state import Store
from routing.telemetry import Telemetry
from routing.types import LOCAL_CALLER, OnProgress, Progress, ToolUse
from tools.fetching.late import LateFetcher
from tools.sandbox import Sandbox
from tools.schemas import input_schema, output_schema
from tools.searching import WebSearch

_SECONDS_BETWEEN_REPORTS = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the tools call; made once per process by the server's lifespan. ``offered`` is what the settings leave."""

    settings: Settings
    catalog: CatalogSource
    router: Router
    store: Store
    jobs: JobRunner
    batches: BatchRunner
    runtime: EmbeddedRuntime
    sandbox: Sandbox
    fetcher: LateFetcher
    search: WebSearch
    offered: Sequence[StrictTool]
    telemetry: Telemetry = field(default_factory=Telemetry)
    guard: LedgerGuard | None = None


class StrictTool(Tool):
    """A tool that refuses arguments it does not know, which the SDK would drop, and says what is wrong in plain words."""

    @property
    def changes_nothing(self) -> bool:
        """Whether it only looks."""
        return self.annotations is not None and self.annotations.read_only_hint is True

    async def run(self, arguments: dict[str, Any], context: Any, convert_result: bool = False) -> Any:  # noqa: FBT001 - the SDK's signature
        """Run the tool.

        Raises:
            ToolError: the arguments do not fit, or the tool failed in a way that its caller can do something about.

        """
        known: list[str] = list(self.parameters["properties"])
        if unknown := [name for name in arguments if name not in known]:
            raise ToolError(_refusal(self.name, [_unknown_argument(name, known) for name in unknown]))
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                problems = error.__cause__.errors(include_url=False, include_input=False)
                raise ToolError(_refusal(self.name, [_misfit(problem) for problem in problems])) from None
            raise


def strict_tool(
    function: Callable[..., Any],
    *,
    title: str,
    read_only: bool,
    idempotent: bool,
    open_world: bool,
    destructive: bool = False,
) -> StrictTool:
    """Make a tool of an async function; its docstring is what a model reads of it."""
    tool = cast(
        "StrictTool",
        StrictTool.from_function(
            function,
            title=title,
            description=" ".join((function.__doc__ or "").split()),
            context_kwarg="ctx" if "ctx" in function.__annotations__ else None,
            annotations=ToolAnnotations(
                read_only_hint=read_only,
                destructive_hint=destructive,
                idempotent_hint=idempotent,
                open_world_hint=open_world,
            ),
        ),
    )
    tool.parameters = {**input_schema(tool.parameters), "additionalProperties": False}
    if tool.fn_metadata.output_schema is not None:
        tool.fn_metadata.output_schema = output_schema(tool.fn_metadata.output_schema)
    if "CallToolResult" in str(function.__annotations__["return"]):
        tool.fn_metadata.output_model = None  # its data came out of that model: once checked is enough
    return tool


def services_of(context: Context[Services, Any]) -> Services:
    """The services that the server's lifespan made."""
    return context.request_context.lifespan_context


def host_of(services: Services, catalog: Catalog) -> Host | None:
    """The host's model, where the settings name one that the registry knows."""
    model = catalog.models.get(services.settings.host_model or "")
    if model is None:
        return None
    counted = services.router.assembler.counter.count(_schemas(services.offered), model.tokenizer)
    return Host(model_id=model.model_id, prices=model.prices, schema_tokens=counted.tokens)


def _schemas(offered: Sequence[StrictTool]) -> str:
    """The tools as a host puts them before its model."""
    return json.dumps([[tool.name, tool.description, tool.parameters] for tool in offered])


def caller_of(context: Context[Services, Any]) -> str:
    """Whose call it is: the owner of all that it makes, and of all that it may see."""
    request_context = context.request_context
    asked_by: object = request_context
    return asked_by.caller if isinstance(asked_by, LoopRequest) else caller_of_request(request_context.request)


def caller_of_request(request: object) -> str:
    """Who made an HTTP request: one id for each principal, which tells nothing of it.

    Whoever needs no credentials, over stdio or on a server that asks for none, is `LOCAL_CALLER`.
    """
    user: object = request.scope.get("user") if isinstance(request, Request) else None
    if not isinstance(user, AuthenticatedUser):
        return LOCAL_CALLER
    client, issuer, subject = principal_components(user.access_token)
    principal = json.dumps([issuer, subject or client])  # whichever program somebody uses, it is the same person
    return f"caller_{hashlib.sha256(principal.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRequest:
    """What a tool that a model runs in the loop needs of the SDK's request context: services, and whose task it is."""

    lifespan_context: Services
    caller: str


@contextmanager
def errors_for_the_model() -> Generator[None]:
    """Translate what went wrong into text that says what to do, and whether a retry helps."""
    try:
        yield
    except RoutingError as error:
        raise ToolError(f"{error} {_retry_advice(error)}") from error


async def book(context: object, name: str, cost_microusd: int, started_at: float) -> None:
    """Write a paid call of a host's into the ledger; what a model calls in the loop goes into its route's bill.

    What was paid for is handed over even where the ledger is broken.
    """
    if cost_microusd == 0 or not isinstance(context, Context):
        return
    took = round(1000 * (time.time() - started_at))
    use = ToolUse(name=name, is_error=False, latency_ms=took, cost_microusd=cost_microusd)
    try:
        services = services_of(cast("Context[Services, Any]", context))
        caller = caller_of(cast("Context[Services, Any]", context))
        await services.store.ledger.record_tool(caller, use, started_at)
    except Exception:  # noqa: BLE001 - the store may fail in any way
        _log.exception("a call of %s could not be written to the ledger", name)


def relay(context: Context[Services, Any], clock: Callable[[], float] = time.monotonic) -> OnProgress:
    """Report progress to the host: every step, and of what flows (tokens, bytes) four reports a second.

    The protocol wants a number that only grows: it counts the reports.
    """
    reports = 0
    last = 0.0

    async def on_progress(progress: Progress) -> None:
        nonlocal reports, last
        if progress.unit != "step" and clock() - last < _SECONDS_BETWEEN_REPORTS:
            return
        reports, last = reports + 1, clock()
        await context.report_progress(reports, message=spoken(progress))

    return on_progress


def spoken(progress: Progress) -> str:
    """A line for people."""
    if progress.unit == "byte" and progress.total:
        return f"{progress.message}: {progress.done / progress.total:.0%} of {progress.total / 1e6:,.0f} MB"
    return progress.message


def _retry_advice(error: RoutingError) -> str:
    failures: Sequence[RoutingError] = error.failures if isinstance(error, AllModelsFailed) else (error,)
    if any(
        isinstance(failure, ProviderError | StoreUnavailable | ToolFailed) and failure.retryable for failure in failures
    ):
        return "Trying again in a moment may help."
    if isinstance(error, DeadlineExceeded):
        return "The same call again will end the same way unless the limit is raised."
    if isinstance(error, BudgetExceeded):
        return "The same call again will end the same way until there is more."
    return "The same call again will fail the same way."


def _refusal(tool: str, problems: Sequence[str]) -> str:
    return f"{tool} was not run: {'; '.join(problems)}. Correct the arguments and call again."


def _misfit(problem: Mapping[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def _unknown_argument(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown argument {name!r}, {hint}"


class Result(BaseModel):
    """A tool's data. `tools.schemas.output_schema` shows only the first layer of it, so no more than that is worked out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if _inside_a_result.get():
            return {"type": "object"}
        token = _inside_a_result.set(True)
        try:
            return handler(schema)
        finally:
            _inside_a_result.reset(token)


_inside_a_result: ContextVar[bool] = ContextVar("_inside_a_result", default=False)
