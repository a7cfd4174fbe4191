from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import routing.catalog as catalog_module
from routing.catalog import Catalog, CatalogSource
from routing.embedded.discovery import DiscoveredModel, DiscoveredServer, ServerAddress
from routing.errors import NoEligibleModel
from routing.registry import RegistryFile
from routing.settings import load_settings
from tests.builders import catalog, model
from tests.fakes import Clock

SHIPPED = Path(__file__).resolve().parent.parent / "registry.json"
pytestmark = pytest.mark.anyio

OLLAMA = DiscoveredServer(
    kind="ollama",
    base_url="http://127.0.0.1:11434/v1",
    models=(
        DiscoveredModel(api_model_id="llama3.3:70b", parameters_billions=70, context_window=32_000),
        DiscoveredModel(api_model_id="nomic-embed-text", kind="embedding"),
    ),
)


class Machine:
    """What answers on loopback, and how often it was asked."""

    def __init__(self, *servers: DiscoveredServer) -> None:
        self.servers = servers
        self.asked: list[list[ServerAddress]] = []

    async def discover(self, addresses: list[ServerAddress]) -> tuple[DiscoveredServer, ...]:
        self.asked.append(addresses)
        return self.servers


def source(tmp_path: Path, clock: Clock | None = None, **variables: str) -> CatalogSource:
    settings = load_settings({"POINTSMAN_HOME": str(tmp_path), **variables}, tmp_path)
    return CatalogSource(settings, RegistryFile(SHIPPED, settings.overlay), clock=clock or Clock())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine(OLLAMA)
    monkeypatch.setattr(catalog_module, "discover", one.discover)
    return one


async def test_a_running_ollamas_models_can_be_called_and_cost_nothing(tmp_path: Path, machine: Machine) -> None:
    found = await source(tmp_path).current()

    row = found.models["ollama/llama3.3:70b"]
    assert found.is_configured(row)
    assert row.prices.input == 0
    assert row.context_window == 32_000
    assert found.access["ollama"].base_url == "http://127.0.0.1:11434/v1"
    embedder = found.models["ollama/nomic-embed-text"]
    assert (embedder.kind, embedder.max_output_tokens, embedder.capabilities.tools) == ("embedding", 0, False)


async def test_a_model_without_a_name_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    machine.servers = (replace(OLLAMA, models=(DiscoveredModel(api_model_id=""), *OLLAMA.models)),)

    assert "ollama/llama3.3:70b" in (await source(tmp_path).current()).models


async def test_a_host_that_only_begins_like_the_loopback_is_not_this_machine(tmp_path: Path, machine: Machine) -> None:
    machine.servers = (replace(OLLAMA, base_url="http://localhost.example.com/v1"),)

    assert (await source(tmp_path).current()).models["ollama/llama3.3:70b"].prices.input is None


async def test_servers_are_asked_once_a_minute(tmp_path: Path, machine: Machine) -> None:
    clock = Clock()
    catalogs = source(tmp_path, clock)

    await catalogs.current()
    await catalogs.current()
    assert len(machine.asked) == 1

    clock.now += 61
    machine.servers = ()
    assert "ollama" not in (await catalogs.current()).access
    assert len(machine.asked) == 2


async def test_with_discovery_off_only_named_addresses_are_asked(tmp_path: Path, machine: Machine) -> None:
    off: dict[str, Any] = {
        "POINTSMAN_DISCOVER": "false",
        "COMPATIBLE_BASE_URL": "http://10.0.0.7:9000/v1/",
        "COMPATIBLE_API_KEY": "k",
    }

    await source(tmp_path, **off).current()

    (asked,) = machine.asked
    assert [(address.kind, address.root, address.api_key) for address in asked] == [
        ("openai_compatible", "http://10.0.0.7:9000", "k")
    ]


async def test_a_model_elsewhere_has_an_unknown_price_because_somebody_may_bill_it(
    tmp_path: Path, machine: Machine
) -> None:
    machine.servers = (
        DiscoveredServer(
            kind="openai_compatible",
            base_url="https://llm.example/v1",
            models=(DiscoveredModel(api_model_id="big"),),
        ),
    )
    found = await source(tmp_path, COMPATIBLE_BASE_URL="https://llm.example/v1").current()

    assert found.models["compatible/big"].prices.input is None


async def test_a_key_configures_its_provider_and_the_embedded_model_needs_none(
    tmp_path: Path, machine: Machine
) -> None:
    machine.servers = ()
    found = await source(tmp_path, OPENAI_API_KEY="sk-x").current()

    assert set(found.access) == {"openai", "local"}
    assert "local" not in (await source(tmp_path, POINTSMAN_LOCAL_MODEL="off").current()).access


async def test_the_users_own_weights_go_by_their_own_name(tmp_path: Path, machine: Machine) -> None:
    found = await source(tmp_path, POINTSMAN_LOCAL_MODEL=str(tmp_path / "Phi-9.gguf")).current()

    assert found.models["local/phi-9"].display_name == "Phi-9"
    assert "local/qwen2.5-coder-0.5b-instruct" not in found.models


async def test_a_broken_edit_of_the_users_file_keeps_the_last_good_one_and_says_so(
    tmp_path: Path, machine: Machine
) -> None:
    overlay = tmp_path / "registry.json"
    overlay.write_text(json.dumps({"models": {"openai/gpt-4.1": {"tier": 1}}}))
    clock = Clock()
    settings = load_settings({}, tmp_path)
    catalogs = CatalogSource(settings, RegistryFile(SHIPPED, settings.overlay, clock=clock), clock=clock)
    assert (await catalogs.current()).models["openai/gpt-4.1"].tier == 1

    overlay.write_text('{"models": {"openai/gpt-4.1": {"tier": 9}}}')
    clock.now += 2
    found = await catalogs.current()

    assert found.models["openai/gpt-4.1"].tier == 1
    assert "openai/gpt-4.1" in found.problems[0]


def names(**changes: Any) -> Catalog:
    return catalog(model("acme/large"), model("zeta/large", provider="zeta", api_model_id="large-z"), **changes)


async def test_a_model_is_found_by_id_by_the_providers_name_and_by_its_short_name() -> None:
    assert names().find("zeta/large").model_id == "zeta/large"
    assert names().find("large-z").model_id == "zeta/large"
    assert names(configured={"zeta"}).find("large").model_id == "zeta/large"


async def test_a_name_that_nobody_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(NoEligibleModel, match="zeta/large"):
        names().find("zeta/larg")
