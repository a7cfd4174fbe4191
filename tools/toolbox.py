"""The tools as the models inside the tool loop have them: the same that MCP hosts call, with the same checks."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent

from routing.pricing import microusd
from routing.types import Image, ToolOutcome, ToolSpec
from tools.base import LoopRequest, Services, StrictTool


@dataclass(frozen=True, slots=True)
class _LoopContext:
    """What a tool needs of the SDK's `Context`: the services, whose task it is, and somebody to report to."""

    request_context: LoopRequest

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """The loop itself reports which tools run."""


Able = Callable[[Services], Awaitable[bool]]
"""Whether a tool can do anything on this server at the moment."""


class ServerToolbox:
    """A `routing.types.Toolbox`. The services that its tools call exist once the router does: `serve` hands them in.

    A tool of which ``able`` says nothing can always be run.
    """

    def __init__(self, tools: Sequence[StrictTool], able: Mapping[str, Able]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._able = able
        self._services: Services | None = None
        self._specs: Mapping[str, ToolSpec] = {}

    def serve(self, services: Services) -> None:
        """Run the tools on these services from now on."""
        self._services = services

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        """The tools that could be run when last looked at, by name."""
        return self._specs

    async def look(self) -> None:
        """Find out which tools can be run."""
        able = [tool for name, tool in self._tools.items() if await self._is_able(name)]
        self._specs = {
            tool.name: ToolSpec(name=tool.name, description=tool.description, input_schema=tool.parameters)
            for tool in able
        }

    async def _is_able(self, name: str) -> bool:
        if self._services is None:
            return False
        return name not in self._able or await self._able[name](self._services)

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        """Run a tool. What goes wrong is told to the model."""
        if self._services is None or name not in self._tools:
            return ToolOutcome(text=f"there is no tool {name!r}", is_error=True)
        context = _LoopContext(LoopRequest(lifespan_context=self._services, caller=caller))
        try:
            result = await self._tools[name].run(dict(arguments), cast("Any", context))
        except ToolError as error:
            return ToolOutcome(text=str(error), is_error=True)
        return _outcome_of(result)


def _outcome_of(result: CallToolResult) -> ToolOutcome:
    texts = [part.text for part in result.content if isinstance(part, TextContent)]
    images = tuple(
        Image(media_type=part.mime_type, data=base64.b64decode(part.data))
        for part in result.content
        if isinstance(part, ImageContent)
    )
    shown = [f"[{len(images)} figures were made; the user sees them below your answer]"] if images else []
    data: dict[str, object] = result.structured_content or {}
    cost = data.get("cost_usd", 0)
    return ToolOutcome(
        text="\n".join([*texts, *shown]),
        is_error=bool(result.is_error),
        images=images,
        cost_microusd=microusd(cost) if isinstance(cost, float) else 0,
    )
