"""The bundle's manifest and the registry's entry: one version, nothing that the hosts would refuse."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import server
from routing.registry import load_registry

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFEST = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
ENTRY = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_everywhere() -> None:
    (package,) = ENTRY["packages"]
    assert {PROJECT["version"], MANIFEST["version"], ENTRY["version"], package["version"]} == {server.VERSION}


def test_the_manifest_and_the_entry_say_of_the_project_what_the_project_says() -> None:
    assert MANIFEST["description"] == ENTRY["description"] == PROJECT["description"]
    assert (MANIFEST["name"], MANIFEST["license"]) == (PROJECT["name"], PROJECT["license"])
    assert MANIFEST["compatibility"]["runtimes"]["python"] == PROJECT["requires-python"]
    assert ENTRY["packages"][0]["identifier"] == PROJECT["name"] in PROJECT["scripts"]


def test_the_manifest_is_of_the_kind_that_brings_no_packages_with_it() -> None:
    assert MANIFEST["manifest_version"] == "0.4"
    assert MANIFEST["server"]["type"] == "uv"
    assert MANIFEST["server"]["entry_point"] == MANIFEST["server"]["mcp_config"]["args"][-1]


def test_every_key_that_the_manifest_asks_for_is_optional_and_reaches_its_variable() -> None:
    """A host puts nothing in the place of a value that has no default: the server would get the reference itself as a key."""
    env = MANIFEST["server"]["mcp_config"]["env"]
    options = MANIFEST["user_config"]

    assert [*env.values()] == [f"${{user_config.{name}}}" for name in options]
    for option in options.values():
        assert option["default"] == ""
        assert option["sensitive"]
        assert not option["required"]


def test_manifest_and_entry_ask_for_the_keys_of_the_registrys_providers() -> None:
    providers = load_registry(ROOT / "registry.json").providers.values()
    keys = {row.key_variables[0] for row in providers if row.key_variables and not row.key_optional}

    assert set(MANIFEST["server"]["mcp_config"]["env"]) == keys
    assert {row["name"] for row in ENTRY["packages"][0]["environmentVariables"]} == keys


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (ENTRY["name"], r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+"),
        (ENTRY["description"], r".{1,100}"),
        (ENTRY["title"], r".{1,100}"),
        (ENTRY["packages"][0]["version"], r"\d+\.\d+\.\d+"),
    ],
)
def test_the_registrys_entry_keeps_the_bounds_of_its_schema(value: Any, pattern: str) -> None:
    assert re.fullmatch(pattern, value)
