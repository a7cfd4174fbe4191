"""One adapter per wire protocol, made on first use.

    openai.py       OpenAI's Responses
    anthropic.py    Anthropic's Messages
    google.py       Google's generateContent
    compatible.py   Chat Completions, for every server that speaks it
    openai_sdk.py   what the two adapters over the openai SDK have in common
    local.py        round one of them: tool calls of a small model that writes them as text
    vectors.py      embeddings made in this process
    this page       which adapter speaks a provider's protocol, and the embedded server behind one of them

An adapter's module imports its vendor's SDK, so it is imported in a worker thread when the first call needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import anyio
import anyio.to_thread
import httpx2 as httpx

from routing.dispatch.providers.local import Local
from routing.dispatch.providers.vectors import Embedder, Vectors
from routing.embedded.runtime import EmbeddedRuntime
from routing.registry import ModelKind
from routing.types import Access, OnProgress, Provider

_ADAPTERS: Mapping[str, tuple[str, str]] = {
    "openai": ("routing.dispatch.providers.openai", "OpenAI"),
    "anthropic": ("routing.dispatch.providers.anthropic", "Anthropic"),
    "google": ("routing.dispatch.providers.google", "Google"),
    "openai-chat": ("routing.dispatch.providers.compatible", "Compatible"),
    "embedded": ("routing.dispatch.providers.compatible", "Compatible"),
}
Connect = Callable[[Access], Provider]
EmbedderSource = Callable[[OnProgress], Awaitable[Embedder]]
"""Gives the embedder of this machine, once its weights are here."""


def connect(access: Access) -> Provider:
    """Make the adapter for a provider's wire. Imports a vendor's SDK: run it in a worker thread."""
    module, name = _ADAPTERS[access.protocol]
    adapter: Callable[..., Provider] = getattr(importlib.import_module(module), name)
    if access.protocol != "embedded":
        return adapter(access)
    return Local(adapter(access, transport=one_call_each()))


def one_call_each() -> httpx.AsyncBaseTransport:
    """Connections that serve one call: llama.cpp closes kept ones without a word, and on loopback a new one costs nothing."""
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))


class ProviderPool:
    """The adapters in use, one per provider and address. ``connect`` is replaced in tests."""

    def __init__(self, runtime: EmbeddedRuntime, embedder: EmbedderSource, connect: Connect = connect) -> None:
        self._runtime = runtime
        self._embedder = embedder
        self._connect = connect
        self._open: dict[tuple[str, Access], Provider] = {}
        self._opening = anyio.Lock()

    async def get(
        self, provider_id: str, access: Access, on_progress: OnProgress, kind: ModelKind = "chat"
    ) -> Provider:
        """The adapter for a provider's models of a kind; starts the embedded model's server where that is the provider.

        Raises:
            AssetError: the embedded model can be neither found nor fetched, or does not start.

        """
        if access.protocol == "embedded" and kind == "embedding":
            return Vectors(await self._embedder(on_progress))
        if access.protocol == "embedded":
            base_url = await self._runtime.base_url(on_progress)
            access = replace(access, base_url=base_url, api_key=self._runtime.api_key)
        key = (provider_id, access)
        if key not in self._open:
            async with self._opening:
                if key not in self._open:  # nobody else opened it meanwhile
                    self._open[key] = await anyio.to_thread.run_sync(self._connect, access)
        return self._open[key]

    async def aclose(self) -> None:
        """Close every adapter."""
        for provider in self._open.values():
            await provider.aclose()
        self._open.clear()
