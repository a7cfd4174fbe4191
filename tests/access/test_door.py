"""The door: what is too much is answered before it is read as MCP, and everything else is passed on as it came."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from access.door import Door
from access.limits import Admission, Limits

pytestmark = pytest.mark.anyio
ONE = Limits(concurrency=1, queue=0)
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "list_models"}}


class House:
    """A server behind the door that answers with what it was sent, once it may."""

    def __init__(self) -> None:
        self.may_answer = anyio.Event()
        self.reached: list[Any] = []
        self.door = Door(self._answer, admission=Admission(spread=lambda: 0.0), limits=ONE, path="/mcp")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).json()
        self.reached.append(body)
        if body.get("method") == "tools/call":
            await self.may_answer.wait()
        await JSONResponse({"result": body})(scope, receive, send)

    @asynccontextmanager
    async def full(self) -> AsyncGenerator[httpx.AsyncClient]:
        """A client while another call of the same caller is inside."""
        transport = httpx.ASGITransport(app=self.door)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            async with anyio.create_task_group() as group:
                group.start_soon(self._call, client)
                await anyio.wait_all_tasks_blocked()
                yield client
                self.may_answer.set()
            assert (await client.post("/mcp", json=CALL)).json() == {"result": CALL}  # and then there is room again

    async def _call(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/mcp", json=CALL)).status_code == 200


async def test_a_call_too_many_is_answered_with_an_error_a_model_can_act_on() -> None:
    house = House()
    async with house.full() as client:
        old = await client.post("/mcp", json=CALL)
        new = await client.post("/mcp", json=CALL, headers={"mcp-protocol-version": "2026-07-28"})
    assert old.status_code == 200
    assert old.headers["retry-after"] == "1"
    assert old.json()["id"] == 7
    assert old.json()["result"]["isError"] is True
    assert "Try again in 1 s" in old.json()["result"]["content"][0]["text"]
    assert "resultType" not in old.json()["result"]
    assert new.json()["result"]["resultType"] == "complete"
    assert len(house.reached) == 2  # the one that was inside, and the one after it


async def test_another_request_too_many_is_told_in_the_protocols_own_words() -> None:
    house = House()
    async with house.full() as client:
        answer = await client.post("/mcp", json={"jsonrpc": "2.0", "id": "x", "method": "tools/list"})
    assert answer.status_code == 429
    assert answer.json()["id"] == "x"
    assert "Try again" in answer.json()["error"]["message"]


async def test_a_cancellation_is_let_in_whole() -> None:
    house = House()
    notification = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    async with house.full() as client:
        assert (await client.post("/mcp", json=notification)).status_code == 200
    assert notification in house.reached


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 30_000, b'{"id": 1, "x": "' + b"y" * 200_000])
async def test_what_cannot_be_read_is_refused_too(body: bytes) -> None:
    house = House()
    async with house.full() as client:
        answer = await client.post("/mcp", content=body)
    assert answer.status_code == 429
    assert answer.json()["id"] is None
    assert len(house.reached) == 2


async def test_other_pages_are_not_counted() -> None:
    house = House()
    async with house.full() as client:
        assert (await client.post("/messages/", json={})).status_code == 200
