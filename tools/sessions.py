"""Conversations: the resource ``session://{session_id}``. They are continued with route_and_answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import Context

from tools.base import Services, caller_of, services_of
from tools.resources import Readable, errors_for_the_reader


async def session_resource(session_id: str, ctx: Context[Services, Any]) -> str:
    """A conversation of yours: the messages that are kept of it, oldest first."""
    with errors_for_the_reader():
        messages = await services_of(ctx).store.sessions.history(session_id, caller_of(ctx))
    rows = [
        {
            "role": message.role,
            "content": message.content,
            **({"images": len(message.images)} if message.images else {}),
        }
        for message in messages
    ]
    return json.dumps({"session_id": session_id, "messages": rows}, ensure_ascii=False)


def resources() -> Sequence[Readable]:
    """The resources of this page."""
    return (
        Readable(
            uri="session://{session_id}",
            name="session",
            title="A conversation",
            mime_type="application/json",
            goes_with="get_answer",
            read=session_resource,
        ),
    )
