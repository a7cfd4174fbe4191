from __future__ import annotations

import sys
from pathlib import Path

import pytest

import composition
from routing.errors import SettingsError
from routing.registry import Provider
from routing.settings import full_address, load_settings
from tests.builders import provider
from tests.state.memory_fakes import WordEmbedder

HOME = Path("/nowhere/home")


def row(**changes: object) -> Provider:
    return Provider.model_validate({"provider_id": "acme", **provider(**changes)})


def test_a_misspelt_variable_stops_the_start_with_the_nearest_right_one() -> None:
    with pytest.raises(
        SettingsError, match=r"POINTSMAN_COST_PREFERNCE is no setting. Did you mean POINTSMAN_COST_PREFERENCE"
    ):
        load_settings({"POINTSMAN_COST_PREFERNCE": "cheapest"}, HOME)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTSMAN_COST_PREFERENCE", "free"),
        ("POINTSMAN_SESSION_TTL_SECONDS", "-1"),
        ("POINTSMAN_CONFIDENCE_THRESHOLD", "nan"),
        ("POINTSMAN_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({name: value}, HOME)


def test_an_empty_variable_takes_the_default() -> None:
    assert load_settings({"POINTSMAN_COST_PREFERENCE": ""}, HOME).cost_preference == "balanced"


def test_names_that_other_routers_use_are_understood() -> None:
    assert load_settings({"POINTSMAN_COST_PREFERENCE": "cost_optimized"}, HOME).cost_preference == "cheapest"


def test_the_environment_never_shows_in_the_printed_settings() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-canary"}, HOME)
    assert "sk-canary" not in repr(settings)
    assert "sk-canary" not in repr(settings.access_to(row(key_variables=["OPENAI_API_KEY"])))


def test_a_provider_without_its_key_is_not_configured() -> None:
    assert load_settings({"ACME_API_KEY": " "}, HOME).access_to(row()) is None


def test_the_first_key_variable_that_is_set_counts() -> None:
    settings = load_settings({"GEMINI_API_KEY": "second"}, HOME)
    access = settings.access_to(row(key_variables=["GOOGLE_API_KEY", "GEMINI_API_KEY"]))
    assert access is not None
    assert access.api_key == "second"


def test_a_users_own_address_replaces_the_vendors() -> None:
    settings = load_settings({"ACME_API_KEY": "k", "ACME_BASE_URL": "http://10.0.0.7/"}, HOME)
    access = settings.access_to(row(base_url_variable="ACME_BASE_URL", api_path="/v1"))
    assert access is not None
    assert access.base_url == "http://10.0.0.7/v1"


def test_an_address_that_is_none_is_named_with_its_variable() -> None:
    settings = load_settings({"ACME_API_KEY": "k", "ACME_BASE_URL": "not a url"}, HOME)
    with pytest.raises(SettingsError, match="ACME_BASE_URL is no address"):
        settings.access_to(row(base_url_variable="ACME_BASE_URL"))


def test_the_path_of_the_api_is_not_appended_twice() -> None:
    assert full_address("http://x/v1/", "/v1") == "http://x/v1"
    assert full_address("http://x", "/v1") == "http://x/v1"


def test_tiktokens_own_cache_folder_is_respected() -> None:
    assert load_settings({"TIKTOKEN_CACHE_DIR": "/cache"}, HOME).vocabularies == Path("/cache")
    assert load_settings({}, HOME).vocabularies == HOME / "vocabularies"


def test_an_empty_variable_does_not_hide_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-written\nGROQ_API_KEY=sk-file\n", encoding="utf-8")
    environment = {"POINTSMAN_HOME": str(tmp_path), "OPENAI_API_KEY": "", "GROQ_API_KEY": "sk-said"}

    variables = composition.settings_of(environment).variables

    assert (variables["OPENAI_API_KEY"], variables["GROQ_API_KEY"]) == ("sk-written", "sk-said")


def test_a_databases_address_never_shows_in_the_printed_settings() -> None:
    settings = load_settings({"POINTSMAN_DATABASE_URL": "postgresql://me:hunter2@host/name"}, HOME)

    assert "hunter2" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("address", ["mysql://me:hunter2@host/name", "hunter2", "sqlite:store.db"])
def test_a_database_that_is_not_postgresqls_is_refused_without_its_address(address: str) -> None:
    with pytest.raises(SettingsError, match="POINTSMAN_DATABASE_URL: it begins with postgresql://") as refused:
        load_settings({"POINTSMAN_DATABASE_URL": address}, HOME)

    assert "hunter2" not in str(refused.value)


def test_the_store_is_the_file_in_the_home_folder_where_no_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = WordEmbedder()
    assert composition.store_of(load_settings({}, HOME), embedder).place == str(HOME / "pointsman.db")

    monkeypatch.setitem(sys.modules, "routing.state.postgres", None)  # as where psycopg is not installed
    with pytest.raises(SettingsError, match=r"needs psycopg.*pointsman\[postgres\]"):
        composition.store_of(load_settings({"POINTSMAN_DATABASE_URL": "postgresql://host/name"}, HOME), embedder)
