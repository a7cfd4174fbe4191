"""The prompts, resources and completions whose names and contents the scenarios fix."""

from __future__ import annotations

import base64
import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    ImageContent,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from tests.conformance.fixture_tools import PIXEL


def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803 - the scenario's name
    """A prompt with a resource inside."""
    text = "Embedded resource content for testing."
    resource = TextResourceContents(uri=resourceUri, mime_type="text/plain", text=text)
    return [
        UserMessage(content=EmbeddedResource(resource=resource)),
        UserMessage(content=TextContent(text="Please process the embedded resource above.")),
    ]


def test_prompt_with_image() -> list[Message]:
    """A prompt with a picture."""
    return [
        UserMessage(content=ImageContent(data=PIXEL, mime_type="image/png")),
        UserMessage(content=TextContent(text="Please analyze the image above.")),
    ]


def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """A picture."""
    return base64.b64decode(PIXEL)


def watched() -> str:
    """What can be subscribed to."""
    return "Watched."


def templated(id: str) -> str:  # noqa: A002 - the scenario's name
    """What is named in the address."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


async def completed(
    ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, context: CompletionContext | None
) -> Completion:
    """Cities that begin so."""
    cities = [city for city in ("paris", "park", "party") if city.startswith(argument.value)]
    return Completion(values=cities, total=len(cities), has_more=False)


def add_to(mcp: MCPServer[Any]) -> None:
    """Offer what is on this page."""
    for prompt in (
        test_simple_prompt,
        test_prompt_with_arguments,
        test_prompt_with_embedded_resource,
        test_prompt_with_image,
    ):
        mcp.prompt()(prompt)
    mcp.resource("test://static-text", mime_type="text/plain")(static_text)
    mcp.resource("test://static-binary", mime_type="image/png")(static_binary)
    mcp.resource("test://watched-resource", mime_type="text/plain")(watched)
    mcp.resource("test://template/{id}/data", mime_type="application/json")(templated)
    mcp.completion()(completed)  # type: ignore[no-untyped-call]  # the SDK leaves it without annotations
