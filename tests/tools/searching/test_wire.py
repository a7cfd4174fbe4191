"""The real connections, over loopback: what the environment says does not matter, and a redirect is not followed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
import pytest

from tests.tools.searching.dialects import CANARY
from tools.searching.results import EngineFailed
from tools.searching.searxng import SearXNG
from tools.searching.wire import Wire

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Loopback:
    """A server that gives every connection the same bytes, and keeps what it was sent."""

    reply: bytes
    port: int = 0
    heard: list[bytes] = field(default_factory=list[bytes])

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            self.heard.append(await stream.receive())
            await stream.send(self.reply)


@asynccontextmanager
async def listening(reply: bytes) -> AsyncGenerator[Loopback]:
    server = Loopback(reply)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()


def http(status: str, body: str = "", *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return f"{head}\r\n\r\n{body}".encode()


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login somebody password {CANARY}\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    wire = Wire()

    async with listening(http("200 OK", '{"results": []}')) as server:
        answer = await SearXNG(wire, f"http://127.0.0.1:{server.port}").search("points", 1, None)
    await wire.aclose()

    assert answer.results == ()
    assert server.heard[0].startswith(b"GET /search?q=points&format=json HTTP/1.1\r\n")
    assert b"authorization" not in server.heard[0].lower()


async def test_a_redirect_is_not_followed_and_the_password_stands_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    async with listening(http("200 OK", "{}")) as elsewhere:
        reply = http("302 Found", "", f"Location: http://127.0.0.1:{elsewhere.port}/")
        async with listening(reply) as server:
            engine = SearXNG(wire, f"http://reader:{CANARY}@127.0.0.1:{server.port}")
            with caplog.at_level(logging.DEBUG), pytest.raises(EngineFailed, match="redirects"):
                await engine.search("points", 1, None)
    await wire.aclose()

    assert b"authorization: basic" in server.heard[0].lower()
    assert elsewhere.heard == []
    assert "302" in caplog.text
    assert CANARY not in caplog.text


async def test_nobody_listening_is_a_failure_worth_another_try() -> None:
    wire = Wire()
    async with listening(b"") as server:
        pass

    with pytest.raises(EngineFailed, match="cannot be reached") as caught:
        await SearXNG(wire, f"http://reader:{CANARY}@127.0.0.1:{server.port}").search("points", 1, None)
    await wire.aclose()

    assert caught.value.retryable
    assert CANARY not in str(caught.value)


async def test_connections_that_were_never_opened_can_be_closed() -> None:
    await Wire().aclose()
