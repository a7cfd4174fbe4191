"""The model servers that already run on this machine, asked at their usual loopback ports.

    Ollama      11434   /api/tags        name, size in parameters, quantization
    LM Studio    1234   /api/v0/models   name, type, quantization, context; older ones only /v1/models
    vLLM         8000   /v1/models       name, context
    llama.cpp    8080   /v1/models       name, parameters, context

Sources: https://docs.ollama.com/api/tags, https://lmstudio.ai/docs/developer/rest/endpoints,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html and llama.cpp's
tools/server/README.md.

Nothing is known of what listens there, so nothing is sent but a GET, and whatever answers otherwise, late or too much is
no server, and no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Literal
from urllib.parse import urlsplit

import anyio
import httpx2 as httpx
from pydantic import BaseModel, ValidationError

from routing.errors import SettingsError
from routing.types import Tier

ServerKind = Literal["ollama", "lm_studio", "vllm", "llama_cpp", "openai_compatible"]
ModelKind = Literal["chat", "embedding"]

_MOST_BYTES = 1 << 20
_OLLAMA_PORT = 11434
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server may listen, and which kind to ask for; ``root`` has no path such as ``/v1``."""

    kind: ServerKind
    root: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredModel:
    """A model that a server has. ``None`` is what it does not say; ``context_window`` is in tokens."""

    api_model_id: str
    kind: ModelKind = "chat"
    parameters_billions: float | None = None
    context_window: int | None = None
    quantization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredServer:
    """A server that answered; ``base_url`` is that of its OpenAI-compatible API."""

    kind: ServerKind
    base_url: str
    models: tuple[DiscoveredModel, ...]


async def discover(
    servers: Sequence[ServerAddress],
    timeout_seconds: float = 0.3,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> tuple[DiscoveredServer, ...]:
    """Ask every address at once; the servers that answered, in the order given. ``transport`` is for tests."""
    found: dict[int, DiscoveredServer] = {}

    async def look(place: int, address: ServerAddress) -> None:
        with anyio.move_on_after(timeout_seconds):
            if server := await _ask(http, address):
                found[place] = server

    async with httpx.AsyncClient(transport=transport, trust_env=False) as http, anyio.create_task_group() as group:
        for place, address in enumerate(servers):
            group.start_soon(look, place, address)
    return tuple(found[place] for place in sorted(found))


async def _ask(http: httpx.AsyncClient, address: ServerAddress) -> DiscoveredServer | None:
    for path in _LISTINGS[address.kind]:
        try:
            body = await _get(http, address.root + path, address.api_key)
            kind, models = _read_tags(body) if path == "/api/tags" else _read_models(body, address.kind)
        except (httpx.HTTPError, httpx.InvalidURL, ValidationError):
            continue
        return DiscoveredServer(kind=kind, base_url=f"{address.root}/v1", models=tuple(models))
    return None


_LISTINGS: dict[ServerKind, tuple[str, ...]] = {
    "ollama": ("/api/tags",),
    "lm_studio": ("/api/v0/models", "/v1/models"),
    "vllm": ("/v1/models",),
    "llama_cpp": ("/v1/models",),
    "openai_compatible": ("/v1/models",),
}


async def _get(http: httpx.AsyncClient, url: str, api_key: str | None) -> bytes:
    body = b""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    async with http.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise httpx.DecodingError("more than a list of models would be")
    return body


class _TagDetails(BaseModel):
    family: str | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None


class _Tag(BaseModel):
    name: str
    remote_host: str | None = None
    details: _TagDetails = _TagDetails()


class _Tags(BaseModel):
    models: list[_Tag]


def _read_tags(body: bytes) -> tuple[ServerKind, Iterable[DiscoveredModel]]:
    tags = _Tags.model_validate_json(body).models
    # A model with a remote host is computed in Ollama's cloud: it is not on this machine, which is what we look for.
    return "ollama", (_model_of_tag(tag) for tag in tags if not tag.remote_host)


def _model_of_tag(tag: _Tag) -> DiscoveredModel:
    return DiscoveredModel(
        api_model_id=tag.name,
        kind="embedding" if "bert" in (tag.details.family or "") else _kind_by_name(tag.name),
        parameters_billions=billions_of(tag.details.parameter_size or "") or _billions_in_name(tag.name),
        quantization=tag.details.quantization_level or None,
    )


class _Meta(BaseModel):
    n_ctx: int | None = None
    n_params: int | None = None


class _Listed(BaseModel):
    id: str
    type: str | None = None
    owned_by: str | None = None
    quantization: str | None = None
    loaded_context_length: int | None = None
    max_context_length: int | None = None
    max_model_len: int | None = None
    meta: _Meta | None = None


class _Listing(BaseModel):
    data: list[_Listed]


_OWNERS: dict[str, ServerKind] = {"vllm": "vllm", "llamacpp": "llama_cpp"}


def _read_models(body: bytes, expected: ServerKind) -> tuple[ServerKind, Iterable[DiscoveredModel]]:
    listed = _Listing.model_validate_json(body).data
    kind: ServerKind = "lm_studio" if expected == "lm_studio" else "openai_compatible"
    for model in listed:
        kind = _OWNERS.get(model.owned_by or "", kind)
    return kind, (_model_of_listed(model) for model in listed)


def _model_of_listed(model: _Listed) -> DiscoveredModel:
    meta = model.meta or _Meta()
    return DiscoveredModel(
        api_model_id=model.id,
        kind="embedding" if model.type == "embeddings" else _kind_by_name(model.id),
        parameters_billions=meta.n_params / 1e9 if meta.n_params else _billions_in_name(model.id),
        context_window=meta.n_ctx or model.max_model_len or model.loaded_context_length or model.max_context_length,
        quantization=model.quantization or None,
    )


def _kind_by_name(name: str) -> ModelKind:
    return "embedding" if "embed" in name.lower() else "chat"


def billions_of(parameter_size: str) -> float | None:
    """Read Ollama's ``parameter_size``: ``"7.6B"`` is 7.6, ``"494.03M"`` is 0.49403."""
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMBT])", parameter_size.strip().upper())
    return float(size[1]) * {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}[size[2]] if size else None


def _billions_in_name(name: str) -> float | None:
    """Read a size such as 7b, 1.5B or 8x7b out of a name: LM Studio and vLLM say nothing else about it."""
    size = re.search(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", name.lower())
    return int(size[1] or 1) * float(size[2]) if size else None


def tier_of(parameters_billions: float | None) -> Tier:
    """Guess a tier from a size: below 4 billion 4, below 14 billion 3, else 2; 3 where the size is unknown.

    It is no more than a guess, for a model of which the registry knows nothing. None is guessed into tier 1, however
    large: that a model is among the best is for the registry to say, from measurements.
    """
    if parameters_billions is None:
        return 3
    if parameters_billions < 4:  # noqa: PLR2004 - the table in the docstring
        return 4
    return 3 if parameters_billions < 14 else 2  # noqa: PLR2004 - the same


def ollama_url(text: str) -> str:
    """Turn what OLLAMA_HOST may hold into the address to call, without a slash at its end.

    The forms are Ollama's own: ``""``, ``"host"``, ``":11434"``, ``"host:port"``, ``"[::1]:port"`` and
    ``"http(s)://host[:port][/path]"``. ``0.0.0.0`` and ``::`` say where it listens; one calls it on the loopback.

    Raises:
        SettingsError: it is none of these, or holds a password, which the message does not repeat.

    """
    scheme, separator, rest = text.strip().strip("\"'").rpartition("://")
    no_address = SettingsError("OLLAMA_HOST is no address: write it like 127.0.0.1:11434 or http://host:11434")
    if "@" in rest or not (rest.isascii() and rest.isprintable()):
        raise no_address
    try:
        parts = urlsplit(f"{scheme or 'http'}://{_bracketed(rest)}")
        port = parts.port or (_DEFAULT_PORTS[parts.scheme] if separator else _OLLAMA_PORT)
        host = _callable(parts.hostname or "127.0.0.1")
    except (ValueError, KeyError) as failure:
        raise no_address from failure
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _bracketed(rest: str) -> str:
    """Put a bare IPv6 address into the brackets that a URL wants."""
    try:
        return f"[{IPv6Address(rest)}]"
    except ValueError:
        return rest


def _callable(host: str) -> str:
    if re.fullmatch(r"[a-z0-9._-]+", host):
        return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - not bound to, but replaced
    address = IPv6Address(host)
    return f"[{'::1' if address.is_unspecified else address}]"
