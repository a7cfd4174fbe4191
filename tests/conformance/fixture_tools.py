"""The tools whose names and answers the scenarios fix: contents of every kind, progress, logs, questions, what may not be done.

Each does what its scenario describes under "Server Implementation Requirements": `conformance list` names the scenarios.
"""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

AnyContext = Context[Any, Any]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""

SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="
"""A WAV of two samples."""


async def test_simple_text() -> TextContent:
    """A text."""
    return TextContent(text="This is a simple text response for testing.")


async def test_image_content() -> ImageContent:
    """A picture."""
    return ImageContent(data=PIXEL, mime_type="image/png")


async def test_audio_content() -> AudioContent:
    """A sound."""
    return AudioContent(data=SILENCE, mime_type="audio/wav")


async def test_embedded_resource() -> EmbeddedResource:
    """A resource inside the answer."""
    text = "This is an embedded resource content."
    return EmbeddedResource(
        resource=TextResourceContents(uri="test://embedded-resource", mime_type="text/plain", text=text)
    )


async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """A text, a picture and a resource."""
    data = TextResourceContents(
        uri="test://mixed-content-resource", mime_type="application/json", text='{"test":"data","value":123}'
    )
    return [
        TextContent(text="Multiple content types test:"),
        ImageContent(data=PIXEL, mime_type="image/png"),
        EmbeddedResource(resource=data),
    ]


async def test_error_handling() -> None:
    """Fail, and say so to the model."""
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_progress(ctx: AnyContext) -> str:
    """Three signs of life."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
    return "done"


async def test_tool_with_logging(ctx: AnyContext) -> str:
    """Three log messages, which only clients of 2025-11-25 get."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)  # pyright: ignore[reportDeprecated] - a scenario of 2025-11-25
    return "logged"


async def test_sampling(prompt: str, ctx: AnyContext) -> str:
    """Let the client's model answer."""
    said = SamplingMessage(role="user", content=TextContent(text=prompt))
    result = await ctx.session.create_message(  # pyright: ignore[reportDeprecated] - a scenario of 2025-11-25
        [said], max_tokens=100, related_request_id=ctx.request_id
    )
    assert isinstance(result.content, TextContent)
    return f"LLM response: {result.content.text}"


async def test_elicitation(message: str, ctx: AnyContext) -> str:
    """Ask for a name and an address."""
    texts: dict[str, dict[str, object]] = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    return await _asked(ctx, message, texts, required=list(texts))


async def test_elicitation_sep1034_defaults(ctx: AnyContext) -> str:
    """Ask with a default of every primitive type."""
    fields: dict[str, dict[str, object]] = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _asked(ctx, "Who are you?", fields)


async def test_elicitation_sep1330_enums(ctx: AnyContext) -> str:
    """Ask for one or several of some choices, with titles and without, and with those of old."""
    choices = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{n}", "title": f"{name} choice"} for n, name in enumerate(("First", "Second", "Third"), 1)
    ]
    fields: dict[str, dict[str, object]] = {
        "untitledSingle": {"type": "string", "enum": choices},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": choices, "enumNames": ["Option one", "Option two", "Option three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": choices}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await _asked(ctx, "Which?", fields)


async def _asked(
    ctx: AnyContext, message: str, fields: dict[str, dict[str, object]], required: list[str] | None = None
) -> str:
    """Ask the client's user, as servers of 2025-11-25 did; what came back."""
    schema = {"type": "object", "properties": fields, "required": required or []}
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return f"User response: action={answer.action}, content={answer.content}"


async def test_missing_capability(ctx: AnyContext) -> str:
    """What only a client with sampling may call."""
    declared = ctx.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", {"requiredCapabilities": {"sampling": {}}}
        )
    return "it can sample"


async def test_logging_tool(ctx: AnyContext) -> str:
    """Log, though nobody asked for a level."""
    await ctx.info("nobody asked")  # pyright: ignore[reportDeprecated] - the scenario is that it does not arrive
    return "logged"


async def test_trigger_tool_change(ctx: AnyContext) -> str:
    """Tell those who listen that there are other tools now."""
    await ctx.notify_tools_changed()
    return "told"


async def test_trigger_prompt_change(ctx: AnyContext) -> str:
    """Tell those who listen that there are other prompts now."""
    await ctx.notify_prompts_changed()
    return "told"


async def test_custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """An argument that is in a header of the request too."""
    return region


def add_to(mcp: MCPServer[Any]) -> None:
    """Offer the tools of this page."""
    for tool in (
        test_simple_text,
        test_image_content,
        test_audio_content,
        test_embedded_resource,
        test_multiple_content_types,
        test_error_handling,
        test_tool_with_progress,
        test_tool_with_logging,
        test_sampling,
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
        test_missing_capability,
        test_logging_tool,
        test_trigger_tool_change,
        test_trigger_prompt_change,
        test_custom_headers,
    ):
        mcp.add_tool(tool)
