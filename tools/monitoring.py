"""What whoever runs the server asks it: how MCP operations go, and over HTTP whether it is alive, ready, and what it counted.

    OperationTimer    the middleware that times each MCP request and notification
    routes            /healthz   200 while the process answers
                      /readyz    200 with what was checked, 503 where a task could not be taken
                      /metrics   for Prometheus

The routes are guarded as /mcp is: they answer to names of this machine only, since a page on the web could point its own name
here and read along (DNS rebinding). Nothing in them is a caller's: no key, prompt, answer or session.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import anyio
import anyio.to_thread
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, CallToolResult
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from routing.dispatch.breaker import BreakerState
from routing.errors import RoutingError, StoreUnavailable
from routing.metrics import OTHER, Metrics
from routing.state import Standing
from routing.telemetry import Operation
from tools.base import Services

STORE_PATIENCE_SECONDS = 2.0
"""A store that takes longer to write nothing cannot take a task either."""

LOOPBACK_ONLY = TransportSecuritySettings(
    allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)
"""What the SDK allows at /mcp of a server on loopback."""

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_STARTING = "the server is starting\n"
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a task needs, and what was found."""

    ok: bool
    detail: str


class OperationTimer(ServerMiddleware[Any]):
    """Tells the telemetry how long each MCP operation took. ``tools`` are the names that are not a host's invention."""

    def __init__(self, tools: frozenset[str], clock: Callable[[], float] = time.perf_counter) -> None:
        self._tools = tools
        self._clock = clock

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass the message on, and the result back, as they are."""
        started, error = self._clock(), None
        try:
            result = await call_next(ctx)
            error = "tool_error" if _failed(result) else None
        except BaseException as problem:
            error = _error_type(problem)
            raise
        else:
            return result
        finally:
            self._tell(ctx, self._clock() - started, error)

    def _tell(self, ctx: ServerRequestContext[Any, Any], seconds: float, error: str | None) -> None:
        services: object = ctx.lifespan_context
        if not isinstance(services, Services):
            return
        services.telemetry.operation(
            Operation(
                method=OTHER if error == str(METHOD_NOT_FOUND) else ctx.method,
                tool=self._tool_of(ctx),
                error=error,
                seconds=seconds,
                protocol_version=ctx.protocol_version,
                transport="pipe" if ctx.request is None else "tcp",
            )
        )

    def _tool_of(self, ctx: ServerRequestContext[Any, Any]) -> str | None:
        if ctx.method != "tools/call":
            return None
        name = (ctx.params or {}).get("name")
        return name if name in self._tools else OTHER


PROBES = ("/readyz", "/metrics")
"""The routes that tell more than that the process answers."""


def routes(
    services_of: Callable[[], Services | None],
    metrics: Metrics,
    security: TransportSecuritySettings = LOOPBACK_ONLY,
) -> list[Route]:
    """The routes of this page. ``services_of`` gives ``None`` while the server is not up."""
    guard = TransportSecurityMiddleware(security)
    one_at_a_time = anyio.CapacityLimiter(1)

    def guarded(answer: Endpoint) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return await guard.validate_request(request) or await answer(request)

        return endpoint

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def readyz(_: Request) -> Response:
        services = services_of()
        if services is None:
            return PlainTextResponse(_STARTING, status_code=503, headers=_HEADERS)
        checks = await readiness(services)
        ready = all(check.ok for check in checks.values())
        body = {"ready": ready, "checks": {name: asdict(check) for name, check in checks.items()}}
        return JSONResponse(body, status_code=200 if ready else 503, headers=_HEADERS)

    async def scrape(request: Request) -> Response:
        services = services_of()
        if services is None:
            return PlainTextResponse(_STARTING, status_code=503, headers=_HEADERS)
        budgets: Sequence[Standing] = ()
        with suppress(StoreUnavailable):  # the rest is worth having all the more
            budgets = await services.router.wallet.overall()
        breakers, accept = await breakers_of(services), request.headers.get("accept", "")
        page, media_type = await anyio.to_thread.run_sync(
            metrics.exposition, accept, breakers, budgets, limiter=one_at_a_time
        )
        return Response(page, media_type=media_type, headers=_HEADERS)

    pages = {"/healthz": healthz, "/readyz": readyz, "/metrics": scrape}
    return [Route(path, guarded(answer), methods=["GET"]) for path, answer in pages.items()]


async def readiness(services: Services) -> Mapping[Literal["store", "registry", "models", "sharing"], Check]:
    """Whether a task could be taken now: the ledger can be written, the registry was read, and a model can be called.

    ``sharing`` is there where limits are shared with other servers. Alone a server keeps to its part of them, so it is ready.
    A broken edit of the user's registry file leaves the last good one in place: it is told, and no reason to send nobody here.
    """
    catalog = await services.catalog.current()
    open_weights_only = services.settings.self_hosted_only
    usable = [
        model
        for model in catalog.models.values()
        if catalog.is_configured(model) and model.kind == "chat" and (model.self_hosted or not open_weights_only)
    ]
    read = f"{len(catalog.models)} models"
    sharing = services.router.dispatcher.sharing
    checks: dict[Literal["store", "registry", "models", "sharing"], Check] = {
        "store": await _store(services),
        "registry": Check(ok=bool(catalog.models), detail="; ".join(catalog.problems) or read),
        "models": Check(
            ok=bool(usable),
            detail=f"{len(usable)} can be called" if usable else "none can be called; list_models says what is missing",
        ),
    }
    if sharing is not None:
        checks["sharing"] = Check(ok=True, detail=sharing.told)
    return checks


async def breakers_of(services: Services) -> Mapping[str, BreakerState]:
    """The breakers of the models that can be called."""
    catalog = await services.catalog.current()
    dispatcher = services.router.dispatcher
    return {
        model.model_id: dispatcher.breaker_state(model, catalog)
        for model in catalog.models.values()
        if catalog.is_configured(model)
    }


async def _store(services: Services) -> Check:
    """Whether the store takes a write: the one that frees what dead processes reserved, which does no harm."""
    try:
        with anyio.fail_after(STORE_PATIENCE_SECONDS):
            await services.store.budgets.sweep()
    except TimeoutError:
        return Check(ok=False, detail=f"no write within {STORE_PATIENCE_SECONDS:g} s")
    except StoreUnavailable as problem:
        return Check(ok=services.settings.store_outage == "open", detail=str(problem))
    except (RoutingError, RuntimeError, OSError) as problem:
        return Check(ok=False, detail=str(problem))
    return Check(ok=True, detail="takes writes")


def _failed(result: HandlerResult) -> bool:
    match result:
        case CallToolResult(is_error=True) | {"isError": True}:
            return True
        case _:
            return False


def _error_type(problem: BaseException) -> str:
    """As the SDK's own span names it: a JSON-RPC code where there is one, else the class."""
    if isinstance(problem, MCPError):
        return str(problem.error.code)
    if isinstance(problem, ValidationError):
        return "-32602"
    return "cancelled" if isinstance(problem, anyio.get_cancelled_exc_class()) else type(problem).__name__
