"""What is written is so: the README, .env.example and the changelog against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import server
from routing.registry import load_registry
from routing.settings import Settings
from tools.searching import VARIABLES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
pytestmark = pytest.mark.anyio


def test_the_example_lists_every_setting_and_every_variable_of_a_provider_and_no_other() -> None:
    registry = load_registry(ROOT / "registry.json")
    ours = {f"POINTSMAN_{name.upper()}" for name in Settings.model_fields if name != "variables"}
    theirs = {
        name for row in registry.providers.values() for name in (*row.key_variables, row.base_url_variable) if name
    }

    listed = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))

    assert listed == ours | theirs | set(VARIABLES)


def test_the_defaults_that_the_example_gives_are_the_codes() -> None:
    for name, field in Settings.model_fields.items():
        written = re.search(rf"^#POINTSMAN_{name.upper()}=(\S*)", EXAMPLE, re.MULTILINE)
        if written and written[1]:
            assert written[1].lower() == str(field.default).lower(), name


async def test_the_readme_describes_every_tool_and_every_argument_of_the_main_one() -> None:
    tools = {tool.name: tool for tool in await server.mcp.list_tools()}
    for name in tools:
        assert re.search(rf"^\|.*`{name}`.* \|", README, re.MULTILINE), name
    for argument in tools["route_and_answer"].input_schema["properties"]:
        assert f"`{argument}`" in README, argument


def test_every_command_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"server\.py (\w+)", README))
    terminal = (ROOT / "cli.py").read_text(encoding="utf-8")
    assert commands
    for command in commands:
        assert f"\ndef {command}(" in terminal
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_registry_overlay_that_the_readme_shows_is_accepted(tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if '"models"' in block]
    assert blocks
    for block in blocks:
        overlay = tmp_path / "registry.json"
        overlay.write_text(block, encoding="utf-8")
        assert "openai/gpt-4o" not in load_registry(ROOT / "registry.json", overlay).models


def test_every_file_that_the_readme_and_the_adrs_name_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs/adr").glob("*.md")]
    for page in pages:
        for name in re.findall(r"`((?:routing|tools|tests|docs|bench)/[\w./-]*)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
