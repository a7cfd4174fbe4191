"""Pointsman with the tools, prompts and resources that the conformance scenarios ask for; it is never shipped.

It is the product's own server, its middleware, HTTP app and settings included: the fixtures are added to it before it serves.

    python -m tests.conformance.fixture_server --transport streamable-http --port 8484
"""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp_types import EmptyResult, SetLevelRequestParams, SubscribeRequestParams, UnsubscribeRequestParams

import server
from tests.conformance import fixture_prompts, fixture_questions, fixture_tools


async def _accept(_context: object, _params: object) -> EmptyResult:
    """Of these requests the scenarios check only that they are accepted."""
    return EmptyResult()


def add_fixtures(mcp: MCPServer[Any]) -> None:
    """Everything with a fixed name that a scenario calls."""
    fixture_tools.add_to(mcp)
    fixture_questions.add_to(mcp)
    fixture_prompts.add_to(mcp)
    wire = mcp._lowlevel_server  # pyright: ignore[reportPrivateUsage] - MCPServer has no door for what 2026-07-28 dropped
    wire.add_request_handler("logging/setLevel", SetLevelRequestParams, _accept)
    wire.add_request_handler("resources/subscribe", SubscribeRequestParams, _accept)
    wire.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, _accept)


if __name__ == "__main__":
    add_fixtures(server.mcp)
    server.main()
