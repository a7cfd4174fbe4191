"""Ports of this machine, for what the benchmarks start."""

from __future__ import annotations

import socket

import anyio


def free_port() -> int:
    """A port on which nothing listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def listening(port: int) -> None:
    """Wait until something listens."""
    for _ in range(1500):
        try:
            await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
        except OSError:
            await anyio.sleep(0.02)
        else:
            return
    raise RuntimeError(f"nothing listens on {port}")
