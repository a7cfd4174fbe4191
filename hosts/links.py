"""Links and buttons that add Pointsman to a host by a click.

They carry the command of the published package (`hosts.launch.PUBLISHED`), because a link knows no paths. Web pages that strip
schemes of their own, as GitHub's do, need the https form, which hands the same config on.

- Cursor: https://cursor.com/docs/mcp/install-links
- Visual Studio Code: https://code.visualstudio.com/api/extension-guides/ai/mcp#create-an-mcp-installation-url
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from urllib.parse import quote

from hosts.install import NAME
from hosts.launch import PUBLISHED, Launch


def config_of(launch: Launch = PUBLISHED) -> Mapping[str, object]:
    """What stands under the server's name in a host's file."""
    return {"command": launch.command, "args": list(launch.args)}


def cursor(launch: Launch = PUBLISHED, *, web: bool = False) -> str:
    """Cursor's link: the config as base64."""
    config = base64.b64encode(_compact(config_of(launch)).encode()).decode()
    address = "https://cursor.com/en/install-mcp" if web else "cursor://anysphere.cursor-deeplink/mcp/install"
    return f"{address}?name={NAME}&config={quote(config, safe='')}"


def vscode(launch: Launch = PUBLISHED, *, web: bool = False, insiders: bool = False) -> str:
    """Visual Studio Code's link: the config, and in its own scheme the name with it, as percent-encoded JSON."""
    if not web:
        scheme = "vscode-insiders" if insiders else "vscode"
        return f"{scheme}:mcp/install?{_quoted({'name': NAME, **config_of(launch)})}"
    quality = "&quality=insiders" if insiders else ""
    return f"https://insiders.vscode.dev/redirect/mcp/install?name={NAME}&config={_quoted(config_of(launch))}{quality}"


def buttons() -> str:
    """The buttons of the README, as Markdown."""
    badge = "https://img.shields.io/badge"
    vs_code = f"{badge}/VS_Code-Install_Server-0098FF?logo=visualstudiocode&logoColor=white"
    insiders = f"{badge}/VS_Code_Insiders-Install_Server-24bfa5?logo=visualstudiocode&logoColor=white"
    return "\n".join(
        (
            f"[![Add to Cursor](https://cursor.com/deeplink/mcp-install-dark.svg)]({cursor(web=True)})",
            f"[![Install in VS Code]({vs_code})]({vscode(web=True)})",
            f"[![Install in VS Code Insiders]({insiders})]({vscode(web=True, insiders=True)})",
        )
    )


def _compact(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quoted(value: Mapping[str, object]) -> str:
    return quote(_compact(value), safe="")
