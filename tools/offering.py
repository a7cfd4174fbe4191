"""What hosts are offered: the tools that the settings leave, and the resources and prompts that go with them.

What is not offered is in no list, and answers as what never was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    PromptReference,
    Resource,
    ResourceTemplate,
    ResourceTemplateReference,
    Tool,
)
from pydantic import AnyUrl

from tools import all_prompts, all_resources, all_tools, completed
from tools.base import Services, caller_of_request
from tools.icons import ICON
from tools.resources import scheme_of

_ALL = frozenset(tool.name for tool in all_tools())
_GOES_WITH = {"ui": "usage_report", **{row.scheme: row.goes_with for row in all_resources()}}
_NEEDS = {row.prompt.name: row.needs for row in all_prompts()}
AnyContext = Context[Services, Any]


class OfferingServer(MCPServer[Services]):
    """An MCP server that offers what its `services` offer; before there are any, everything."""

    @property
    def services(self) -> Services | None:
        """What the server works with at the moment."""
        raise NotImplementedError

    def equip(self) -> None:
        """Add the resources, the prompts and the completions; the tools are there from the start."""
        for row in all_resources():
            add = self.resource(row.uri, name=row.name, title=row.title, mime_type=row.mime_type, icons=[ICON])
            add(row.read)
        for offer in all_prompts():
            self.add_prompt(offer.prompt)
        # The SDK's decorator would keep the context, and with it the caller, from the completion.
        self._lowlevel_server.add_request_handler("completion/complete", CompleteRequestParams, self.complete)

    def offers(self, *tools: str) -> bool:
        """Whether the settings leave these tools."""
        services = self.services
        return services is None or all(
            name not in _ALL or any(name == tool.name for tool in services.offered) for name in tools
        )

    async def list_tools(self) -> list[Tool]:
        """The tools that can be used on this host, as far as is known: hosts ask while the sandboxes are still being tried."""
        holds = self.services is None or self.services.sandbox.may_hold
        tools = await super().list_tools()
        return [tool for tool in tools if self.offers(tool.name) and (holds or tool.name != "execute_python")]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: AnyContext | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool that is offered. Raises as the SDK's own."""
        if not self.offers(name):
            raise ToolError(f"Unknown tool: {name}")
        return await super().call_tool(name, arguments, context)

    async def list_resources(self) -> list[Resource]:
        """The resources that have one address; the others are templates."""
        listed = [
            Resource(uri=uri, name=uri, title=title, mime_type=row.mime_type, icons=[ICON])
            for row in all_resources()
            for uri, title in row.listed.items()
        ]
        return [row for row in (*listed, *await super().list_resources()) if self._can_read(row.uri)]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """The templates of what can be read."""
        return [row for row in await super().list_resource_templates() if self._can_read(row.uri_template)]

    async def read_resource(
        self, uri: AnyUrl | str, context: AnyContext | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read what is offered. Raises as the SDK's own."""
        if not self._can_read(str(uri)):
            raise ResourceNotFoundError(f"Unknown resource: {uri}")
        return await super().read_resource(uri, context)

    async def list_prompts(self) -> list[Prompt]:
        """The prompts whose tools are offered."""
        return [prompt for prompt in await super().list_prompts() if self.offers(*_NEEDS.get(prompt.name, ()))]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: AnyContext | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Write a prompt that is offered. Raises as the SDK's own."""
        if not self.offers(*_NEEDS.get(name, ())):
            raise ValueError(f"Unknown prompt: {name}")
        return await super().get_prompt(name, arguments, context)

    async def complete(self, ctx: ServerRequestContext[Services, Any], params: CompleteRequestParams) -> CompleteResult:
        """Complete an argument of a prompt or a template that is offered.

        Raises:
            MCPError: there is no such prompt or template.

        """
        match params.ref:
            case PromptReference(name=name):
                known = [prompt.name for prompt in await self.list_prompts()]
            case ResourceTemplateReference(uri=name):
                known = [template.uri_template for template in await self.list_resource_templates()]
        if name not in known:
            raise MCPError(code=INVALID_PARAMS, message=f"there is no prompt or resource template {name!r}")
        argument = params.argument
        return CompleteResult(
            completion=await completed(
                ctx.lifespan_context, caller_of_request(ctx.request), argument.name, argument.value
            )
        )

    def _can_read(self, uri: str) -> bool:
        tool = _GOES_WITH.get(scheme_of(uri))
        return tool is None or self.offers(tool)
