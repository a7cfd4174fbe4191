"""What can be called right now: the registry, who is configured, and what servers on loopback offer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from routing.embedded.discovery import (
    DiscoveredModel,
    DiscoveredServer,
    ServerAddress,
    ServerKind,
    discover,
    ollama_url,
    tier_of,
)
from routing.errors import NoEligibleModel
from routing.registry import Model, Provider, Registry, RegistryFile, with_models
from routing.settings import Settings
from routing.types import Access

_DISCOVERY_LASTS_SECONDS = 60.0
_EMBEDDED = Access(protocol="embedded", base_url="embedded")
_USUAL_WINDOW = 8_192
_USUAL_OUTPUT = 4_096
"""What is taken for granted of a server that says nothing of its model's window."""
_KIND_OF: Mapping[str, ServerKind] = {
    "ollama": "ollama",
    "lm_studio": "lm_studio",
    "vllm": "vllm",
    "llama_cpp": "llama_cpp",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """A snapshot that a whole route is decided on, itself its identity. ``access`` holds the configured providers by id."""

    registry: Registry
    access: Mapping[str, Access]
    policy: str
    problems: tuple[str, ...] = field(default=())

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model of the registry, configured or not, by id."""
        return self.registry.models

    def is_configured(self, model: Model) -> bool:
        """Whether the model's provider can be called."""
        return model.provider in self.access

    def find(self, name: str) -> Model:
        """The model that a caller named, by its id or by the provider's own name for it.

        Raises:
            NoEligibleModel: there is none; the nearest names are offered.

        """
        if model := self.models.get(name):
            return model
        same = [
            model for model in self.models.values() if name in (model.api_model_id, model.model_id.split("/", 1)[1])
        ]
        if same:
            return min(same, key=lambda model: (not self.is_configured(model), model.model_id))
        nearest = self.registry.nearest(name)
        hint = f"Nearest: {', '.join(nearest)}." if nearest else "list_models shows what there is."
        raise NoEligibleModel(f"there is no model {name!r}. {hint}")

    def check_providers(self, names: Iterable[str]) -> None:
        """Refuse a provider that nobody knows: a misspelt one must not be taken for one that was denied.

        Raises:
            NoEligibleModel: it offers the nearest name.

        """
        for name in names:
            if name not in self.registry.providers:
                nearest = get_close_matches(name.lower(), self.registry.providers, n=1, cutoff=0.4)
                hint = f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(self.registry.providers)}."
                raise NoEligibleModel(f"there is no provider {name!r}. {hint}")

    def how_to_configure(self, provider_id: str) -> str:
        """One clause that says what is missing before a provider can be called."""
        provider = self.registry.providers[provider_id]
        if provider.protocol == "embedded":
            return "set POINTSMAN_LOCAL_MODEL=auto"
        if provider.key_variables and not provider.key_optional:
            return f"set {provider.key_variables[0]}"
        return f"start its server, or set {provider.base_url_variable}"


class CatalogSource:
    """Makes the current `Catalog`; servers on loopback are asked again once a minute."""

    def __init__(
        self, settings: Settings, registry: RegistryFile, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._servers: Mapping[str, DiscoveredServer] = {}
        self._asked_at: float | None = None
        self._asking = anyio.Lock()
        self._made: tuple[Registry, Mapping[str, DiscoveredServer], str | None, Catalog] | None = None

    async def current(self) -> Catalog:
        """The catalog as of now: the same one until a registry file or the running servers change.

        Raises nothing for a broken edit of a registry file: the last good one stays.
        """
        registry = self._registry.current()
        servers = await self._running_servers(registry)
        problem = self._registry.problem
        if self._made and self._made[0] is registry and self._made[1] is servers and self._made[2] == problem:
            return self._made[3]
        catalog = self._catalog(registry, servers, problem)
        self._made = (registry, servers, problem, catalog)
        return catalog

    def _catalog(self, registry: Registry, servers: Mapping[str, DiscoveredServer], problem: str | None) -> Catalog:
        access = {key: found for key, row in registry.providers.items() if (found := self._access(row, servers))}
        discovered = [model for provider_id, server in servers.items() for model in _models_of(provider_id, server)]
        return Catalog(
            registry=_with_own_weights(with_models(registry, discovered), self._settings.local_model),
            access=access,
            policy=self._settings.policy or registry.default_policy,
            problems=(problem,) if problem else (),
        )

    def _access(self, provider: Provider, servers: Mapping[str, DiscoveredServer]) -> Access | None:
        if provider.protocol == "embedded":
            return None if self._settings.local_model == "off" else _EMBEDDED
        if not provider.discover:
            return self._settings.access_to(provider)
        running = servers.get(provider.provider_id)
        if running is None:
            return None
        return Access(protocol=provider.protocol, base_url=running.base_url, api_key=self._settings.key_of(provider))

    async def _running_servers(self, registry: Registry) -> Mapping[str, DiscoveredServer]:
        """The servers that answered, by provider id; where two are of one kind, the first address wins."""
        if self._is_due:
            async with self._asking:
                if self._is_due:  # nobody else asked meanwhile
                    found = await discover(self._addresses(registry))
                    self._servers = {
                        "compatible" if server.kind == "openai_compatible" else server.kind: server
                        for server in reversed(found)
                    }
                    self._asked_at = self._clock()
        return self._servers

    @property
    def _is_due(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at > _DISCOVERY_LASTS_SECONDS

    def _addresses(self, registry: Registry) -> list[ServerAddress]:
        """The user's own addresses first, then the usual ports."""
        asked = [provider for provider in registry.providers.values() if provider.discover]
        own = [self._address(provider, text) for provider in asked if (text := self._own_address(provider))]
        usual = [self._address(provider, provider.base_url) for provider in asked if provider.base_url]
        return [*own, *(usual if self._settings.discover else ())]

    def _own_address(self, provider: Provider) -> str:
        return self._settings.variables.get(provider.base_url_variable or "", "").strip()

    def _address(self, provider: Provider, text: str) -> ServerAddress:
        kind = _KIND_OF.get(provider.provider_id, "openai_compatible")
        root = ollama_url(text) if kind == "ollama" else text.rstrip("/").removesuffix("/v1")
        return ServerAddress(kind=kind, root=root, api_key=self._settings.key_of(provider))


def _models_of(provider_id: str, server: DiscoveredServer) -> list[Model]:
    return [_model_of(provider_id, server, found) for found in server.models if found.api_model_id.strip()]


def _model_of(provider_id: str, server: DiscoveredServer, found: DiscoveredModel) -> Model:
    """A row for what a server offers. On this machine it costs nothing; elsewhere the price is unknown."""
    window = found.context_window or _USUAL_WINDOW
    chats = found.kind == "chat"
    free = urlsplit(server.base_url).hostname in _LOOPBACK
    return Model.model_validate(
        {
            "model_id": f"{provider_id}/{found.api_model_id}",
            "api_model_id": found.api_model_id,
            "display_name": found.api_model_id,
            "provider": provider_id,
            "kind": found.kind,
            "tier": tier_of(found.parameters_billions),
            "context_window": window,
            "max_output_tokens": min(_USUAL_OUTPUT, window // 2) if chats else 0,
            "prices": {"input": 0, "output": 0} if free else {},
            "capabilities": {"tools": chats, "json_schema": chats},
            "is_reasoning_model": False,
            "self_hosted": True,
            "tokenizer": "llama",
            "prices_checked": None,
            "source": f"reported by the server at {server.base_url}",
        }
    )


def _with_own_weights(registry: Registry, local_model: str) -> Registry:
    """Name the embedded model after the user's own GGUF file, so that nobody takes it for the shipped one."""
    if local_model in ("auto", "off"):
        return registry
    file = Path(local_model)
    shipped = next((model for model in registry.models.values() if model.last_resort), None)
    if shipped is None:
        return registry
    own = shipped.model_copy(
        update={
            "model_id": f"{shipped.provider}/{file.stem.lower()}",
            "display_name": file.stem,
            "source": "the user's own file",
        }
    )
    models = {key: model for key, model in registry.models.items() if model is not shipped}
    return registry.model_copy(update={"models": {**models, own.model_id: own}})
