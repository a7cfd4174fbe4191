"""The limits of `access.limits` again, before a request is read as MCP: a thousand calls at once cost next to nothing.

Reading a call costs milliseconds, which other callers would wait for. So no more requests of a caller are let in than may run
and wait; the others are answered here, with what the middleware would say. Notifications are let in: they may be cancellations.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, cast

from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.limits import Admission, Limits, TurnedAway
from tools.base import caller_of_request

TOO_MANY = 429
SERVER_BUSY = -32000
"""The first of the codes that JSON-RPC leaves to servers."""

_MOST_READ_BYTES = 65_536
"""Of a request that will not be let in."""


class Door:
    """Lets so many POSTs to ``path`` in for each caller as `Limits` admits."""

    def __init__(self, app: ASGIApp, *, admission: Admission, limits: Limits, path: str) -> None:
        self._app = app
        self._admission = admission
        self._limits = limits
        self._path = path
        self._inside: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        caller = caller_of_request(Request(scope))
        if self._inside[caller] >= self._limits.concurrency + self._limits.queue:
            await self._refuse(scope, receive, send, self._admission.refusal(caller, self._limits))
            return
        self._inside[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refusal: TurnedAway) -> None:
        request = Request(scope)
        body, messages = await _read(receive)
        message = _parsed(body)
        if "id" not in message:

            async def replay() -> Message:
                return messages.pop(0) if messages else await receive()

            await self._app(scope, replay, send)
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        is_call = message.get("method") == "tools/call"
        if is_call:
            old = request.headers.get(MCP_PROTOCOL_VERSION_HEADER) in {None, *HANDSHAKE_PROTOCOL_VERSIONS}
            text = {"type": "text", "text": refusal.spoken}
            answer["result"] = {"content": [text], "isError": True, **({} if old else {"resultType": "complete"})}
        else:
            answer["error"] = {"code": SERVER_BUSY, "message": refusal.spoken}
        headers = {"retry-after": str(refusal.seconds)}
        await JSONResponse(answer, 200 if is_call else TOO_MANY, headers)(scope, receive, send)


async def _read(receive: Receive) -> tuple[bytes, list[Message]]:
    """The body, or as much of it as is worth reading, and the messages that it came in."""
    body, messages = b"", list[Message]()
    while len(body) <= _MOST_READ_BYTES:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    return body, messages


def _parsed(body: bytes) -> dict[str, Any]:
    """The message; one without an answerable id where it cannot be told."""
    try:
        message: object = json.loads(body)
    except (ValueError, RecursionError):
        return {"id": None}
    return cast("dict[str, Any]", message) if isinstance(message, dict) else {"id": None}
