"""What a test needs of an MCP host: the two eras of the protocol, and the text and the data of a result."""

from __future__ import annotations

from typing import Any, Literal

from mcp_types import CallToolResult, TextContent

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("auto", "legacy")


def texts_of(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


def text_of(result: CallToolResult) -> str:
    return "\n".join(texts_of(result))


def data_of(result: CallToolResult) -> dict[str, Any]:
    """The data of a result that is no error."""
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    return dict(result.structured_content)
