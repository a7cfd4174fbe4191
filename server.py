"""Pointsman: the composition root.

    settings → registry, store, embedded model → the five stages → `mcp`, the MCP server

``main()`` serves MCP on stdio where nothing else is asked for; every other command line is `cli.py`'s.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
if sys.path[:1] != [str(HERE)]:
    sys.path.insert(0, str(HERE))  # inside the wheel our packages lie in this folder; see docs/adr/0005
gc.disable()  # what the imports make is there to stay: looking through it again and again is a seventh of the start

import anyio  # noqa: E402
import platformdirs  # noqa: E402
from mcp.server import MCPServer  # noqa: E402
from mcp_types import Tool  # noqa: E402

from routing.analyzer import RulesAnalyzer  # noqa: E402
from routing.assembler import Assembler  # noqa: E402
from routing.batches import BatchRunner  # noqa: E402
from routing.budgets import Wallet  # noqa: E402
from routing.catalog import CatalogSource  # noqa: E402
from routing.dispatch.engine import DispatchEngine  # noqa: E402
from routing.dispatch.providers import ProviderPool  # noqa: E402
from routing.dispatch.retry import RetryPolicy  # noqa: E402
from routing.dispatch.tool_loop import ToolLoop  # noqa: E402
from routing.embedded.assets import MULTILINGUAL_E5_SMALL, QWEN_CODER_HALF_BILLION, fetch  # noqa: E402
from routing.embedded.embedder import LocalEmbedder  # noqa: E402
from routing.embedded.runtime import EmbeddedRuntime  # noqa: E402
from routing.errors import AssetError, RoutingError, SettingsError  # noqa: E402
from routing.jobs import JobRunner  # noqa: E402
from routing.logs import announce, set_up  # noqa: E402
from routing.metrics import Metrics  # noqa: E402
from routing.pricing import microusd  # noqa: E402
from routing.recorder import Recorder  # noqa: E402
from routing.registry import RegistryFile  # noqa: E402
from routing.report import Period  # noqa: E402
from routing.router import Router  # noqa: E402
from routing.selector import Selector  # noqa: E402
from routing.settings import Settings, load_settings  # noqa: E402
from routing.state import Budgets  # noqa: E402
from routing.state.sqlite import SqliteStore  # noqa: E402
from routing.telemetry import Observer, Telemetry, exporting  # noqa: E402
from routing.tokens import TokenCounter  # noqa: E402
from routing.types import OnProgress  # noqa: E402
from tools import all_tools, dashboard, loop_tools  # noqa: E402
from tools.base import Services  # noqa: E402
from tools.fetching.addresses import Allowed  # noqa: E402
from tools.fetching.fetch import Fetcher  # noqa: E402
from tools.jobs import add_resources  # noqa: E402
from tools.monitoring import OperationTimer, routes  # noqa: E402
from tools.readiness import can_run_code, can_search  # noqa: E402
from tools.report import dashboard_data  # noqa: E402
from tools.sandbox import Sandbox  # noqa: E402
from tools.sandbox.backends import backends  # noqa: E402
from tools.searching import WebSearch, engines_of  # noqa: E402
from tools.searching.paid import PaidSearch  # noqa: E402
from tools.searching.prices import MICROUSD_PER_SEARCH  # noqa: E402
from tools.toolbox import ServerToolbox  # noqa: E402

VERSION = "0.1.0"
SHIPPED_REGISTRY = HERE / "registry.json"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECONDS_BEFORE_A_SANDBOX_IS_TRIED = 2.0
"""By then a host has its list of tools. A call that needs the sandbox does not wait so long: it tries it itself."""
Transport = Literal["stdio", "sse", "streamable-http"]

INSTRUCTIONS = (
    "Pointsman answers self-contained tasks with the cheapest model that is good enough. Delegate work that does not need "
    "you or your conversation: summaries, drafts, translations, extraction, classification, clear coding tasks, questions. "
    "Put everything that is needed into prompt. Keep work that depends on what only you have seen."
)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings, from the environment and the ``.env`` files beside this file and in the home folder.

    A variable that is there and empty hides no file's: hosts pass on keys that were never filled in.

    Raises:
        SettingsError: a variable is misspelt or its value is not allowed.

    """
    default_home = platformdirs.user_data_path("pointsman", appauthor=False)
    home = Path(environment.get("POINTSMAN_HOME") or default_home).expanduser()
    written = {**_written(HERE / ".env"), **_written(home / ".env")}
    said = {name: value for name, value in environment.items() if value.strip() or name not in written}
    return load_settings({**written, **said}, default_home)


async def weights(settings: Settings, on_progress: OnProgress) -> Path:
    """The embedded model's file: the user's own, or the shipped choice, fetched where it is not here yet.

    Raises:
        AssetError: it is not there, or no mirror has it.

    """
    if settings.local_model == "auto":
        folder, hub = settings.models_folder, settings.hub_endpoint
        return await fetch(QWEN_CODER_HALF_BILLION, folder, on_progress, hub_endpoint=hub)
    own = Path(settings.local_model)
    if not await anyio.Path(own).is_file():
        raise AssetError(f"POINTSMAN_LOCAL_MODEL names {own}, which is no file. Name a GGUF file, or unset it.")
    return own


async def fetched_embedder(settings: Settings, embedder: LocalEmbedder, on_progress: OnProgress) -> LocalEmbedder:
    """The embedder of this machine, its weights fetched where they are not here yet.

    Raises:
        AssetError: no mirror has them.

    """
    if not embedder.available():
        await fetch(MULTILINGUAL_E5_SMALL, settings.models_folder, on_progress, hub_endpoint=settings.hub_endpoint)
    return embedder


def wallet_of(settings: Settings, store: Budgets, search: WebSearch) -> Wallet:
    """The budgets of the settings, and the most that a call of a paid tool costs."""
    hour, month, session = (
        None if dollars is None else microusd(dollars)
        for dollars in (settings.hourly_budget_usd, settings.monthly_budget_usd, settings.session_budget_usd)
    )
    dearest = max((MICROUSD_PER_SEARCH.get(engine, 0) for engine in search.engines), default=0)
    return Wallet(
        store=store,
        hour_microusd=hour,
        month_microusd=month,
        session_microusd=session,
        tool_microusd={"web_search": dearest},
    )


def _written(file: Path) -> dict[str, str]:
    """The variables of a ``.env`` file; none where there is no such file."""
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - most users have no such file

    try:
        return {name: value for name, value in dotenv_values(file).items() if value is not None}
    except UnicodeDecodeError as problem:
        raise SettingsError(f"{file} is not UTF-8: {problem.reason}. Save it as UTF-8, or remove it.") from problem


def check_registry(settings: Settings) -> RegistryFile:
    """The registry and the user's file over it.

    Raises:
        RegistryError: a file is broken, or the policy or the baseline model of the settings is not in it.

    """
    file = RegistryFile(SHIPPED_REGISTRY, settings.overlay)
    registry = file.current()
    registry.policy(settings.policy or registry.default_policy)
    for name in (settings.baseline_model, settings.host_model):
        if name:
            registry.model(name)
    for provider in registry.providers.values():
        settings.key_of(provider)
    return file


@asynccontextmanager
async def composed(settings: Settings, *observers: Observer) -> AsyncGenerator[Services]:
    """The services over these settings, closed at the end; ``observers`` are told what happens in them.

    Raises:
        RegistryError: a registry file is broken.
        SettingsError: the home folder cannot be used.

    """
    registry = check_registry(settings)
    counter = TokenCounter(settings.vocabularies)
    catalog = CatalogSource(settings, registry)
    runtime = EmbeddedRuntime(
        functools.partial(weights, settings), log_path=settings.home / "llama.log", threads=settings.local_threads
    )
    embedder = LocalEmbedder(settings.models_folder, threads=settings.local_threads)
    providers = ProviderPool(runtime, functools.partial(fetched_embedder, settings, embedder))
    sandbox = Sandbox(backends(settings), variables=settings.variables)
    fetcher = Fetcher(Allowed.of(settings.fetch_allow))
    search = WebSearch(engines_of(settings))
    telemetry = Telemetry(prompts=settings.trace_prompts, observers=observers)
    toolbox = ServerToolbox(loop_tools(), able={"web_search": can_search, "execute_python": can_run_code})
    async with SqliteStore(
        settings.database,
        session_ttl_seconds=settings.session_ttl_seconds,
        ledger_days=settings.ledger_days,
        embedder=embedder,
    ) as store:
        wallet = wallet_of(settings, store.budgets, search)
        router = Router(
            catalog=catalog,
            sessions=store.sessions,
            analyzer=RulesAnalyzer(counter),
            selector=Selector(confidence_threshold=settings.confidence_threshold),
            assembler=Assembler(counter=counter, toolbox=toolbox),
            dispatcher=DispatchEngine(
                providers=providers,
                counter=counter,
                tool_loop=ToolLoop(toolbox=telemetry.toolbox(toolbox)),
                policy=RetryPolicy(most_retries=settings.max_retries),
                watch=telemetry.attempt,
            ),
            recorder=Recorder(
                ledger=store.ledger,
                baseline_model=settings.baseline_model,
                watch=telemetry.route,
            ),
            wallet=wallet,
        )
        jobs = JobRunner(router, store.jobs)
        batches = BatchRunner(router, store.jobs, store.ledger, concurrency=settings.batch_concurrency)
        try:
            services = Services(
                settings=settings,
                catalog=catalog,
                router=router,
                store=store,
                jobs=jobs,
                batches=batches,
                runtime=runtime,
                sandbox=sandbox,
                fetcher=fetcher,
                search=PaidSearch(search, wallet),
                telemetry=telemetry,
            )
            toolbox.serve(replace(services, search=search))  # a route pays for its searches from its own purse
            yield services
        finally:
            await jobs.aclose()
            await batches.aclose()
            await search.aclose()
            await fetcher.aclose()
            await sandbox.aclose()
            await providers.aclose()
            await runtime.aclose()


class SharedServices:
    """The server's lifespan. SSE begins one per connection: what `held` made is shared by all of them."""

    def __init__(self) -> None:
        self._held: Services | None = None
        self.services: Services | None = None

    @asynccontextmanager
    async def held(self, settings: Settings, *observers: Observer) -> AsyncGenerator[None]:
        """Make the services, and keep them for every connection until the block ends."""
        async with composed(settings, *observers) as services, self._open(services):
            self._held = services
            try:
                yield
            finally:
                self._held = None

    @asynccontextmanager
    async def __call__(self, _: MCPServer[Services]) -> AsyncGenerator[Services]:
        """The services for a connection: the shared ones, or (stdio has one connection) its own."""
        if self._held is not None:
            yield self._held
            return
        async with composed(settings_of(os.environ)) as services, self._open(services):
            yield services

    @asynccontextmanager
    async def _open(self, services: Services) -> AsyncGenerator[None]:
        """Find out about the sandbox once the host has had its list of tools, which should not wait for it."""
        self.services = services
        async with anyio.create_task_group() as beside:
            beside.start_soon(_try_sandbox, services)
            try:
                yield
            finally:
                beside.cancel_scope.cancel()
                self.services = None


class PointsmanServer(MCPServer[Services]):
    """An MCP server that offers to run code only where there is a sandbox that holds."""

    async def list_tools(self) -> list[Tool]:
        """The tools that can be used on this host, as far as is known: hosts ask while the sandboxes are still being tried."""
        offered = await super().list_tools()
        services = lifespan.services
        if services is None or services.sandbox.may_hold:
            return offered
        return [tool for tool in offered if tool.name != "execute_python"]


async def _dashboard_data(period: Period) -> str:
    assert lifespan.services is not None  # noqa: S101 - the server listens inside `held`
    return await dashboard_data(lifespan.services, period)


async def _try_sandbox(services: Services) -> None:
    await anyio.sleep(SECONDS_BEFORE_A_SANDBOX_IS_TRIED)
    await services.sandbox.available()


lifespan = SharedServices()
TOOL_NAMES = frozenset(tool.name for tool in all_tools())
mcp = PointsmanServer(
    "pointsman",
    title="Pointsman",
    version=VERSION,
    instructions=INSTRUCTIONS,
    tools=list(all_tools()),
    lifespan=lifespan,
    log_level="WARNING",
    middleware=[OperationTimer(TOOL_NAMES)],
    extensions=[dashboard.apps()],
)
add_resources(mcp)
gc.freeze()  # and no later collection looks through it either
gc.enable()


def serve(transport: Transport = "stdio", host: str = "127.0.0.1", port: int = 8484) -> None:
    """Serve MCP until the client goes away (stdio) or a signal comes (HTTP).

    Raises:
        SettingsError, RegistryError: before anything is served.

    """
    settings = settings_of(os.environ)
    check_registry(settings)
    set_up(settings.log_format, settings.log_level)
    with exporting(os.environ, VERSION):
        if transport == "stdio":
            mcp.run("stdio")
            return
        _check_address(host, port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: closing what is open
        try:
            anyio.run(_serve_http, transport, host, port, settings)
        except* KeyboardInterrupt:  # in groups, where it went through task groups
            pass


async def _serve_http(transport: Transport, host: str, port: int, settings: Settings) -> None:
    import uvicorn  # noqa: PLC0415 - a host on stdio should not wait for it

    path = "/sse" if transport == "sse" else "/mcp"
    app = mcp.sse_app(host=host) if transport == "sse" else mcp.streamable_http_app(host=host)
    metrics = Metrics(TOOL_NAMES)
    app.routes.extend(routes(lambda: lifespan.services, metrics))
    app.routes.extend(dashboard.routes(_dashboard_data))
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level=settings.log_level.lower(),
        timeout_graceful_shutdown=30,
    )
    async with lifespan.held(settings, metrics):
        announce(settings.log_format, f"serving MCP at http://{host}:{port}{path}")
        await uvicorn.Server(config).serve()


def _check_address(host: str, port: int) -> None:
    """Refuse an address that is open to others, and one where nothing can listen.

    Raises:
        SettingsError: it says what to do.

    """
    if host not in LOOPBACK:
        raise SettingsError(
            f"--host {host} would let others use your keys, and there is no authentication. Listen on 127.0.0.1, and put a "
            "proxy that authenticates in front of it."
        )
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as problem:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {problem.strerror}. Choose another port with --port, or end what uses it."
        ) from problem


def first_of(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """The first error inside nested groups: task groups wrap what a server's lifespan raises."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def main() -> None:
    """Serve on stdio, or do what the command line says; a problem ends with one line that says what to do."""
    try:
        if sys.argv[1:]:
            import cli  # noqa: PLC0415 - costs 0.1 s that a host which starts us should not wait for

            cli.run(
                cli.Composition(
                    composed=composed,
                    settings_of=settings_of,
                    serve=serve,
                    version=VERSION,
                    shipped_registry=SHIPPED_REGISTRY,
                )
            )
        else:
            serve()
    except* RoutingError as errors:
        sys.exit(f"pointsman: {first_of(errors)}")


if __name__ == "__main__":
    main()
