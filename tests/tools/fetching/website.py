"""A website on loopback that misbehaves as it is told, and what leads to it: names, and a network that is none."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpcore2
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from tools.fetching.addresses import Allowed
from tools.fetching.cache import PageCache
from tools.fetching.fetch import Fetcher, Limits
from tools.fetching.reading import Reader

PUBLIC = "93.184.216.34"
ECHO = """
import json, sys
print('{"ready": true}', flush=True)
for line in iter(sys.stdin.buffer.readline, b""):
    order = json.loads(line)
    text = sys.stdin.buffer.read(order["length"]).decode("utf-8", "replace")
    print(json.dumps({"title": order["kind"], "text": text, "truncated": False}), flush=True)
"""
"""A process that speaks like `child.py`, and parses nothing."""

Body = Callable[[], AsyncIterator[bytes]]


def reply(body: bytes = b"hello", status: int = 200, content_type: str | None = "text/plain", **headers: str) -> bytes:
    """A whole response. Underscores in the names of headers are hyphens."""
    named = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    if content_type is not None:
        named["content-type"] = content_type
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def moved(location: str, status: int = 302, **headers: str) -> bytes:
    return reply(b"", status, location=location, **headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came, the names of headers in lower case."""

    target: str
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Website:
    """``pages`` by target; a page is a whole response, or something that yields one bit by bit."""

    pages: Mapping[str, bytes | Body]
    port: int = 0
    connections: int = 0
    sent: int = 0
    requests: list[Request] = field(default_factory=list[Request])

    async def answer(self, stream: ByteStream) -> None:
        self.connections += 1
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, ssl.SSLError):
            async with stream:
                head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65_536)
                self.requests.append(_request(head))
                page = self.pages[self.requests[-1].target]
                async for part in _whole(page)() if isinstance(page, bytes) else page():
                    await stream.send(part)
                    self.sent += len(part)


def _whole(response: bytes) -> Body:
    async def parts() -> AsyncIterator[bytes]:
        yield response

    return parts


def _request(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return Request(target=first.split(" ")[1], headers=headers)


@asynccontextmanager
async def serving(pages: Mapping[str, bytes | Body], tls: ssl.SSLContext | None = None) -> AsyncGenerator[Website]:
    """The website, listening on loopback until the block ends."""
    site = Website(pages=pages)
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    site.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, site.answer)
        yield site
        group.cancel_scope.cancel()


class Diverted(httpcore2.AsyncNetworkBackend):
    """Stands for the internet: notes what is dialled, and leads all of it to one port on loopback."""

    def __init__(self, port: int) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.unreachable: set[str] = set()
        self._port = port
        self._real: Any = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.unreachable:
            raise httpcore2.ConnectError
        stream: httpcore2.AsyncNetworkStream = await self._real.connect_tcp("127.0.0.1", self._port, timeout=timeout)
        return stream


class Names:
    """A resolver: for each name the answers of one look-up after the other, the last of them for good."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self.asked: list[str] = []
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        if host[0].isdigit() or ":" in host:
            return [host]
        self.asked.append(host)
        answers = self._names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A fetcher, and all that it can reach."""

    site: Website
    network: Diverted
    names: Names
    fetcher: Fetcher


@asynccontextmanager
async def world(
    pages: Mapping[str, bytes | Body],
    *,
    names: Names | None = None,
    limits: Limits | None = None,
    allow: Sequence[str] = (),
    reader: Reader | None = None,
    server_tls: ssl.SSLContext | None = None,
    **seams: Any,
) -> AsyncGenerator[World]:
    """``site.example`` is a public name of the website, unless ``names`` says otherwise."""
    names = names or Names(site_example=[[PUBLIC]])
    async with serving(pages, server_tls) as site:
        network = Diverted(site.port)
        fetcher = Fetcher(
            Allowed.of(allow),
            limits=limits,
            reader=reader or Reader(command=(sys.executable, "-I", "-S", "-c", ECHO)),
            cache=PageCache(),
            resolve=names,
            network=network,
            **seams,
        )
        try:
            yield World(site=site, network=network, names=names, fetcher=fetcher)
        finally:
            await fetcher.aclose()
