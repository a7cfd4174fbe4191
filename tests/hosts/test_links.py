"""Links and buttons: what they carry, read back the way the hosts read it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from hosts import links
from hosts.launch import PUBLISHED, Launch

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = {"command": "uvx", "args": ["pointsman"]}
ANY = Launch(command="C:\\Program Files\\käse?.exe", args=("a&b=c+d", "#/%20"))
LINK = re.compile(r"(?:https://cursor\.com/en/install-mcp|https://insiders\.vscode\.dev/redirect/mcp/install)\?[^)\s]+")


def read(link: str) -> object:
    """The config that a host would take from its link."""
    parts = urlsplit(link)
    if parts.scheme.startswith("vscode"):
        return json.loads(unquote(parts.query))
    query = parse_qs(parts.query, strict_parsing=True)
    assert query["name"] == ["pointsman"]
    (config,) = query["config"]
    return json.loads(base64.b64decode(config, validate=True) if "cursor" in link.split("?", maxsplit=1)[0] else config)


@pytest.mark.parametrize("launch", [PUBLISHED, ANY])
def test_every_form_of_a_link_carries_the_command_whatever_is_in_it(launch: Launch) -> None:
    config = {"command": launch.command, "args": list(launch.args)}

    assert read(links.cursor(launch)) == read(links.cursor(launch, web=True)) == config
    assert read(links.vscode(launch)) == read(links.vscode(launch, insiders=True)) == {"name": "pointsman", **config}
    assert read(links.vscode(launch, web=True)) == config


def test_links_begin_as_the_hosts_want_them() -> None:
    assert links.cursor().startswith("cursor://anysphere.cursor-deeplink/mcp/install?name=pointsman&config=")
    assert links.vscode().startswith("vscode:mcp/install?%7B")
    assert links.vscode(insiders=True).startswith("vscode-insiders:mcp/install?%7B")
    assert links.vscode(web=True, insiders=True).endswith("&quality=insiders")


def test_the_guide_shows_the_buttons_and_every_link_that_a_page_shows_carries_the_published_command() -> None:
    guide, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/guides/hosts.md", "README.md"))
    shown = LINK.findall(guide)

    assert links.buttons() in guide
    assert sorted(set(shown)) == sorted({*shown, *LINK.findall(readme)})
    assert all(read(link) == CONFIG for link in shown)
