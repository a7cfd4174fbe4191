"""MCP over HTTP: for programs on this machine, or for a team behind a proxy.

    check     an address that others can reach is refused without a proxy that ends TLS, named hosts, and authentication
    app_of    the pages: /mcp or /sse, /dashboard, /metrics, /healthz, /readyz, behind the gate of `access`
    serve     answer until a signal comes, then drain: calls under way end, nothing of them stays unbooked

Only `server.py` imports this page, when something else than stdio is asked for.
"""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

import anyio
import httpx2 as httpx
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter, ValidationError
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.requests import Request

from access.door import Door
from access.guard import Credentials, guard
from access.limits import Admission, Limits
from access.oauth import Issuer, OAuthVerifier
from access.tokens import TokenFile
from routing.errors import SettingsError
from routing.logs import announce
from routing.metrics import Metrics
from routing.report import Period
from routing.settings import Settings
from routing.telemetry import Observer
from tools import dashboard, monitoring
from tools.base import Services, caller_of_request
from tools.report import dashboard_data

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CLOSING_SECONDS = 3
"""How long connections have to close after the drain; what is left of their requests is then cancelled, and booked as that."""

SESSION_IDLE_SECONDS = 1_800.0
"""After so long without a request, a session of the older protocol is closed."""

MOST_SESSIONS = 10_000
ACCEPTED_AT_ONCE = 4
"""Connections that are accepted in one turn of the event loop: a thousand at once would hold up who is connected."""

WAITING_CONNECTIONS = 2_048
"""Connections that wait in the kernel to be accepted."""

_JWKS_SECONDS = 10.0
_ADDRESS: TypeAdapter[AnyHttpUrl] = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))
"""As it was written: clients compare an issuer letter by letter (RFC 8414)."""

_SECONDS_BETWEEN_LOOKS = 0.1
Transport = Literal["sse", "streamable-http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to serve, and by which transport."""

    transport: Transport
    host: str
    port: int

    @property
    def path(self) -> str:
        """Where MCP clients connect."""
        return "/sse" if self.transport == "sse" else "/mcp"


class Lifespan(Protocol):
    """What `server.py` makes for all connections; ``services`` are there while it is held."""

    services: Services | None

    def held(self, settings: Settings, *observers: Observer) -> AbstractAsyncContextManager[None]: ...


def check(address: Address, settings: Settings) -> None:
    """Refuse an address that is open to others without protection, and one where nothing can listen.

    Raises:
        SettingsError: it says what is missing.

    """
    missing = _missing_of_oauth(settings) if "oauth" in settings.auth else []
    if missing:
        raise SettingsError(f"POINTSMAN_AUTH=oauth needs {', '.join(missing)}.")
    if address.host not in LOOPBACK and (missing := _missing_for_others(settings)):
        raise SettingsError(
            f"--host {address.host} lets others in, who would use your keys. Missing for that: {'; '.join(missing)}. Set what "
            "is missing, or listen on 127.0.0.1."
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.create_server((address.host, address.port), family=family):
            pass
    except OSError as problem:
        raise SettingsError(
            f"cannot listen on {address.host}:{address.port}: {problem.strerror}. Choose another port with --port, or end what "
            "uses it."
        ) from problem


def security_of(settings: Settings) -> TransportSecuritySettings:
    """The hosts and origins that may be named: this machine's, and those of the settings. All others could be rebound names."""
    here = [f"[{name}]" if ":" in name else name for name in LOOPBACK]
    hosts = [pattern for name in settings.allowed_hosts for pattern in (name, f"{name}:*")]
    return TransportSecuritySettings(
        allowed_hosts=[*(f"{name}:*" for name in here), *hosts],
        allowed_origins=[*(f"http://{name}:*" for name in here), *(f"https://{name}" for name in hosts)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served, and what stands before its tools."""

    mcp: MCPServer[Services]
    lifespan: Lifespan
    admission: Admission


def app_of(
    served: Served, address: Address, settings: Settings, metrics: Metrics, client: httpx.AsyncClient
) -> Starlette:
    """All pages, behind the gate where the settings ask for authentication. ``client`` fetches the issuer's keys."""
    security, mcp, lifespan = security_of(settings), served.mcp, served.lifespan
    if address.transport == "sse":
        app = mcp.sse_app(transport_security=security)
    else:
        app = mcp.streamable_http_app(
            transport_security=security, session_idle_timeout=SESSION_IDLE_SECONDS, max_sessions=MOST_SESSIONS
        )

    async def read_data(request: Request, period: Period) -> str:
        assert lifespan.services is not None  # noqa: S101 - the server listens inside `held`
        return await dashboard_data(lifespan.services, caller_of_request(request), period)

    app.routes.extend(monitoring.routes(lambda: lifespan.services, metrics, security))
    app.routes.extend(dashboard.routes(read_data, hosts=[*LOOPBACK, *settings.allowed_hosts]))
    app.add_middleware(Door, admission=served.admission, limits=Limits.of(settings), path=address.path)
    if settings.auth:
        _close(app, settings, client)
    return app


async def serve(served: Served, address: Address, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, and then as long as `Draining.shutdown` takes."""
    metrics = Metrics(frozenset(tool.name for tool in await served.mcp.list_tools()))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=_JWKS_SECONDS))
        config = uvicorn.Config(
            app_of(served, address, settings, metrics, client),
            host=address.host,
            port=address.port,
            log_config=None,
            log_level=settings.log_level.lower(),
            backlog=ACCEPTED_AT_ONCE,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        await stack.enter_async_context(served.lifespan.held(settings, metrics))
        announce(settings.log_format, f"serving MCP at http://{address.host}:{address.port}{address.path}")
        await Draining(config, served, settings.drain_seconds).serve()


class Draining(uvicorn.Server):
    """A server that lets what is under way end before it closes the connections that answers go through."""

    def __init__(self, config: uvicorn.Config, served: Served, seconds: float) -> None:
        super().__init__(config)
        self._served = served
        self._seconds = seconds
        AppStatus.enable_automatic_graceful_drain = False  # it would cut the streams of answers at the signal

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with more room in the kernel than is accepted at once."""
        await super().startup(sockets)
        for listener in [listener for server in self.servers for listener in server.sockets]:
            with socket.fromfd(listener.fileno(), listener.family, listener.type) as same:
                same.listen(WAITING_CONNECTIONS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Admit no more calls, wait for those under way and for detached work, and close."""
        for server in self.servers:
            server.close()
        with anyio.move_on_after(self._seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(self._hurried, group.cancel_scope)
                await self._served.admission.close()
                if self._served.lifespan.services is not None:
                    await self._served.lifespan.services.jobs.drain(self._seconds)
                group.cancel_scope.cancel()
        AppStatus.should_exit = True  # streams that only listen end now
        await super().shutdown(sockets)

    async def _hurried(self, scope: anyio.CancelScope) -> None:
        """End the wait at the second Ctrl-C."""
        while not self.force_exit:  # noqa: ASYNC110 - set by a signal's handler, which cannot set an event
            await anyio.sleep(_SECONDS_BETWEEN_LOOKS)
        scope.cancel()


def _close(app: Starlette, settings: Settings, client: httpx.AsyncClient) -> None:
    tokens = TokenFile(settings.tokens) if "tokens" in settings.auth else None
    oauth, metadata_url = None, None
    open_paths = {"/healthz", *(monitoring.PROBES if settings.open_probes else ())}
    if "oauth" in settings.auth:
        issuer = Issuer(
            url=settings.oauth_issuer or "",
            jwks_url=settings.oauth_jwks_url or "",
            audience=settings.oauth_audience or settings.oauth_resource or "",
        )
        oauth = OAuthVerifier(issuer, client)
        resource = _address(settings.oauth_resource)
        metadata_url = build_resource_metadata_url(resource)
        app.routes.extend(
            create_protected_resource_routes(
                resource, [_address(settings.oauth_issuer)], scopes_supported=list(settings.oauth_scopes) or None
            )
        )
        open_paths.add(metadata_url.path or "")
    guard(
        app,
        Credentials(tokens, oauth, settings.oauth_scopes),
        open_paths=open_paths,
        scopes=settings.oauth_scopes,
        metadata_url=metadata_url,
    )


def _missing_for_others(settings: Settings) -> list[str]:
    needed = {
        "POINTSMAN_BEHIND_TLS_PROXY=true, where a proxy before it ends TLS": settings.behind_tls_proxy,
        "POINTSMAN_ALLOWED_HOSTS, the names by which clients call": bool(settings.allowed_hosts),
        "POINTSMAN_AUTH, how they prove who they are (tokens, oauth)": bool(settings.auth),
    }
    return [name for name, is_there in needed.items() if not is_there]


def _missing_of_oauth(settings: Settings) -> list[str]:
    addresses = {
        "POINTSMAN_OAUTH_ISSUER": settings.oauth_issuer,
        "POINTSMAN_OAUTH_JWKS_URL": settings.oauth_jwks_url,
        "POINTSMAN_OAUTH_RESOURCE": settings.oauth_resource,
    }
    return [f"{name} (an https address)" for name, value in addresses.items() if not _is_safe(value)]


def _is_safe(value: str | None) -> bool:
    """Whether it is an address whose answers nobody on the way can change."""
    parts = urlsplit(value or "")
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _address(value: str | None) -> AnyHttpUrl:
    try:
        return _ADDRESS.validate_python(value)
    except ValidationError as problem:
        raise SettingsError(f"{value} is no address: {problem.errors()[0]['msg']}.") from problem
