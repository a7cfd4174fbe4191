"""From a name to a connection: one look-up, every answer vetted, and the very address that was vetted dialled.

Between a look-up that is checked and another one that is used, a name can change its mind (DNS rebinding): so there is
one only. TLS is begun above this, for the name and not for the address.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import cast

import anyio
import httpcore2

from routing.errors import ToolFailed
from tools.fetching.addresses import Allowed

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Every IP address of a name, as text; raises `OSError` where there is none."""

_MOST_ATTEMPTS = 3


async def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver; an IP address is its own answer."""
    answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(answer[4][0] for answer in answers))


class VettingBackend(httpcore2.AsyncNetworkBackend):
    """httpcore's seam to the network. ``inner`` does the dialling, of vetted IP addresses and nothing else."""

    def __init__(
        self, allowed: Allowed, *, resolve: Resolver = resolved, inner: httpcore2.AsyncNetworkBackend | None = None
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = inner or cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect, within ``timeout`` seconds for all of it.

        Raises:
            ToolFailed: the host has no address, or one that may not be dialled.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: nobody answers.

        """
        try:
            with anyio.fail_after(timeout):
                addresses = (await self._vetted(host, port))[:_MOST_ATTEMPTS]
                share = None if timeout is None else timeout / len(addresses)
                return await self._first_of(addresses, port, share, socket_options)
        except TimeoutError as late:
            raise httpcore2.ConnectTimeout(f"no connection within {timeout} s") from late

    async def _vetted(self, host: str, port: int) -> Sequence[str]:
        try:
            answers = await self._resolve(host, port)
        except OSError as unknown:
            temporary = isinstance(unknown, socket.gaierror) and unknown.errno == socket.EAI_AGAIN
            raise ToolFailed(f"{host} cannot be found: {unknown.strerror}.", retryable=temporary) from unknown
        if not answers:
            raise ToolFailed(f"{host} has no address.")
        self._allowed.vet(host, port, map(ip_address, answers))
        return answers

    async def _first_of(
        self,
        addresses: Sequence[str],
        port: int,
        seconds: float | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        """The first that answers. The resolver has put first what this machine can reach best."""
        *others, last = addresses
        for address in others:
            try:
                return await self._inner.connect_tcp(address, port, timeout=seconds, socket_options=socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(last, port, timeout=seconds, socket_options=socket_options)
