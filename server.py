"""Pointsman, the MCP server: `mcp` over the services that `composition.py` makes.

``main()`` serves MCP on stdio where nothing else is asked for; every other command line is `cli.py`'s.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
if sys.path[:1] != [str(HERE)]:
    sys.path.insert(0, str(HERE))  # inside the wheel our packages lie in this folder; see docs/adr/0005
gc.disable()  # what the imports make is there to stay: looking through it again and again is a seventh of the start

import anyio  # noqa: E402
from mcp.server import MCPServer  # noqa: E402

from access.limits import Admission  # noqa: E402
from composition import check_registry, composed, settings_of  # noqa: E402
from routing.errors import RoutingError  # noqa: E402
from routing.logs import set_up  # noqa: E402
from routing.settings import Settings  # noqa: E402
from routing.telemetry import Observer, exporting  # noqa: E402
from tools import all_tools, dashboard  # noqa: E402
from tools.base import Services  # noqa: E402
from tools.icons import ICON  # noqa: E402
from tools.monitoring import OperationTimer  # noqa: E402
from tools.offering import OfferingServer  # noqa: E402

VERSION = "0.1.0"
SECONDS_BEFORE_A_SANDBOX_IS_TRIED = 2.0
"""By then a host has its list of tools. A call that needs the sandbox does not wait so long: it tries it itself."""
Transport = Literal["stdio", "sse", "streamable-http"]

INSTRUCTIONS = (
    "Pointsman does self-contained tasks on the cheapest model that is good enough, and keeps the bill.\n"
    "Delegate what you can describe completely: summaries, drafts, translations, extraction, classification, code to a clear "
    "specification, factual questions; and the same task over many items (route_batch). The more text goes in or out, the "
    "more it saves.\n"
    "Keep what depends on your conversation, the user's files or your own tools; steps that you must take yourself; answers "
    "shorter than the prompt would be.\n"
    "The model sees only the prompt: put in the goal, the material and the form of the answer. Check what comes back; it "
    "may be from a small model. If it falls short, ask again with cost_preference best_quality, or do it yourself. Continue "
    "with session_id; with status running, call get_answer. Before a large job, estimate_cost says what it would cost."
)


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


class PointsmanServer(OfferingServer):
    """The server over this process's services."""

    @property
    def services(self) -> Services | None:
        """Those of the lifespan, while it lasts."""
        return lifespan.services


async def _try_sandbox(services: Services) -> None:
    await anyio.sleep(SECONDS_BEFORE_A_SANDBOX_IS_TRIED)
    await services.sandbox.available()


lifespan = SharedServices()
admission = Admission()
TOOL_NAMES = frozenset(tool.name for tool in all_tools())
mcp = PointsmanServer(
    "pointsman",
    title="Pointsman",
    version=VERSION,
    instructions=INSTRUCTIONS,
    icons=[ICON],
    tools=list(all_tools()),
    lifespan=lifespan,
    log_level="WARNING",
    middleware=[OperationTimer(TOOL_NAMES), admission],
    extensions=[dashboard.apps()],
)
mcp.equip()
gc.freeze()  # and no later collection looks through it either
gc.enable()


def serve(transport: Transport = "stdio", host: str = "127.0.0.1", port: int = 8484) -> None:
    """Serve MCP until the client goes away (stdio) or a signal comes (HTTP).

    Raises:
        SettingsError, RegistryError: before anything is served.

    """
    settings = settings_of(os.environ)
    set_up(settings.log_format, settings.log_level)
    with exporting(os.environ, VERSION):
        if transport == "stdio":
            mcp.run("stdio")  # its lifespan begins before anything is read
            return
        check_registry(settings)
        import serving  # noqa: PLC0415 - a host on stdio should not wait for it

        served = serving.Served(mcp=mcp, lifespan=lifespan, admission=admission)
        address = serving.Address(transport=transport, host=host, port=port)
        serving.check(address, settings)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: closing what is open
        try:
            anyio.run(serving.serve, served, address, settings)
        except* KeyboardInterrupt:  # in groups, where it went through task groups
            pass


def first_of(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """The first error inside nested groups: task groups wrap what a server's lifespan raises."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def main() -> None:
    """Serve on stdio, or do what the command line says; a problem ends with one line that says what to do."""
    try:
        if sys.argv[1:]:
            import cli  # noqa: PLC0415 - costs 0.1 s that a host which starts us should not wait for

            cli.run(cli.Server(serve=serve, version=VERSION))
        else:
            serve()
    except* RoutingError as errors:
        sys.exit(f"pointsman: {first_of(errors)}")


if __name__ == "__main__":
    main()
