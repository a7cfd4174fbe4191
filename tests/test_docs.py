"""What is written is so: the README, .env.example and the changelog against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import server
from docs import tools_page
from hosts import links
from routing.registry import load_registry
from routing.settings import Settings
from tests.snapshot import FILE
from tools.searching import VARIABLES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
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


async def test_the_readme_describes_every_tool_and_names_every_prompt_and_guide() -> None:
    for tool in await server.mcp.list_tools():
        assert re.search(rf"^\|.*`{tool.name}`.* \|", README, re.MULTILINE), tool.name
    for prompt in await server.mcp.list_prompts():
        assert f"`{prompt.name}`" in README, prompt.name
    for guide in GUIDES:
        assert f"](docs/guides/{guide.name})" in README, guide.name


def test_the_page_of_tools_is_what_the_code_says() -> None:
    assert tools_page.PAGE.read_text(encoding="utf-8") == tools_page.page(), "make pages writes it anew"


def test_the_readme_shows_the_buttons_of_hosts_that_have_them() -> None:
    assert links.buttons() in README


def test_what_the_readme_says_that_tools_cost_is_the_snapshots() -> None:
    total = json.loads(FILE.read_text(encoding="utf-8"))["tokens"]["total"]
    assert f"{total:,} and " in README


def test_every_command_that_the_readme_and_the_guides_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = [README, *(guide.read_text(encoding="utf-8") for guide in GUIDES)]
    commands = {name for page in pages for name in re.findall(r"server\.py (\w+)", page)}
    terminal = (ROOT / "cli.py").read_text(encoding="utf-8")
    assert commands
    for command in commands:
        assert f"\ndef {command}(" in terminal
    for target in re.findall(r"`make (\w+)`", "\n".join(pages)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_registry_overlay_of_the_guide_adds_a_provider_and_its_model(tmp_path: Path) -> None:
    guide = (ROOT / "docs/guides/extending.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    overlay = tmp_path / "registry.json"
    overlay.write_text(block, encoding="utf-8")

    registry = load_registry(ROOT / "registry.json", overlay)

    assert registry.model("acme/anvil-2").provider in registry.providers


def test_every_variable_and_option_that_the_guides_name_exists() -> None:
    variables = {f"POINTSMAN_{name.upper()}" for name in Settings.model_fields}
    terminal = (ROOT / "cli.py").read_text(encoding="utf-8")
    for guide in GUIDES:
        text = guide.read_text(encoding="utf-8")
        assert set(re.findall(r"POINTSMAN_[A-Z_]+", text)) <= variables, guide.name
        for option in re.findall(r"`--([a-z][a-z-]+)", text):
            assert f"--{option}" in terminal or f"{option.replace('-', '_')}:" in terminal, option


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *GUIDES, tools_page.PAGE):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_registry_overlay_that_the_readme_shows_is_accepted(tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if '"models"' in block]
    assert blocks
    for block in blocks:
        overlay = tmp_path / "registry.json"
        overlay.write_text(block, encoding="utf-8")
        assert "openai/gpt-4o" not in load_registry(ROOT / "registry.json", overlay).models


def test_every_file_that_the_readme_and_the_adrs_name_exists() -> None:
    pages = [ROOT / "README.md", *GUIDES, *(ROOT / "docs/adr").glob("*.md")]
    for page in pages:
        for name in re.findall(r"`((?:routing|tools|tests|docs|bench)/[\w./-]*)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
