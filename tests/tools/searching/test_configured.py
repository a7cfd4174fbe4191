from __future__ import annotations

from pathlib import Path

import pytest

from routing.errors import SettingsError
from routing.settings import SEARCH_ENGINES, Settings, load_settings
from tests.tools.searching.dialects import CANARY, SEARXNG, answering
from tools.searching import VARIABLES, engines_of

HOME = Path("/nowhere/home")
EVERYTHING = {
    "BRAVE_API_KEY": CANARY,
    "TAVILY_API_KEY": CANARY,
    "EXA_API_KEY": CANARY,
    "SEARXNG_URL": f"http://x:{CANARY}@host.example",
}


def settings(**variables: str) -> Settings:
    return load_settings(variables, HOME)


def names(configured: Settings, *, duckduckgo: bool = True) -> list[str]:
    return [
        engine.name for engine in engines_of(configured, installed=lambda package: duckduckgo and package == "ddgs")
    ]


def test_every_engine_that_is_configured_is_asked_in_the_default_order() -> None:
    assert tuple(names(settings(**EVERYTHING))) == SEARCH_ENGINES == ("brave", "tavily", "exa", "searxng", "duckduckgo")


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_engine_without_its_variable_is_not_asked(variable: str) -> None:
    missing = variable.removesuffix("_API_KEY").removesuffix("_URL").lower()
    configured = settings(**{**EVERYTHING, variable: "  "})

    assert names(configured) == [name for name in SEARCH_ENGINES if name != missing]


def test_without_the_extra_duckduckgo_is_not_asked() -> None:
    assert names(settings(), duckduckgo=False) == []
    assert names(settings(), duckduckgo=True) == ["duckduckgo"]


def test_the_order_is_the_users_and_an_engine_left_out_is_not_asked() -> None:
    assert names(settings(**EVERYTHING, POINTSMAN_SEARCH_ORDER=" exa, Brave,exa ,")) == ["exa", "brave"]


@pytest.mark.parametrize(
    ("order", "hint"),
    [
        ("tavilly", "did you mean tavily"),
        ("brave,searx", "did you mean searxng"),
        ("xyz", "known are brave, tavily"),
        (",", "1 item"),
    ],
)
def test_a_misspelt_engine_stops_the_start_with_the_nearest_right_one(order: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"POINTSMAN_SEARCH_ORDER: .*{hint}"):
        settings(POINTSMAN_SEARCH_ORDER=order)


@pytest.mark.parametrize("variable", ["BRAVE_API_KEY", "TAVILY_API_KEY", "EXA_API_KEY", "SEARXNG_URL"])
def test_a_key_that_no_header_can_carry_is_named_and_not_shown(variable: str) -> None:
    with pytest.raises(SettingsError, match=variable) as caught:
        engines_of(settings(**{variable: f"“{CANARY}”"}))

    assert CANARY not in str(caught.value)


@pytest.mark.anyio
async def test_the_engines_share_one_client_which_is_closed_with_the_first() -> None:
    server = answering(SEARXNG.empty)
    first, second = engines_of(
        settings(SEARXNG_URL="http://host.example", EXA_API_KEY="k"), transport=server.transport
    )[:2]
    await second.search("q", 1, None)

    await first.aclose()

    with pytest.raises(RuntimeError, match="closed"):
        await second.search("q", 1, None)
    await second.aclose()
