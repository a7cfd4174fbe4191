"""The hosts as data: where each keeps its MCP servers, and what an entry there looks like.

Every row names the page that says so, as read in November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HostName = Literal["claude-desktop", "claude-code", "cursor", "vscode", "windsurf", "zed", "gemini-cli", "goose"]
Platform = Literal["darwin", "win32", "linux"]
Root = Literal[
    "HOME", "APPLICATION_SUPPORT", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "GEMINI_CLI_HOME"
]

ROOTS: Mapping[Root, str] = {
    "HOME": "",
    "APPLICATION_SUPPORT": "Library/Application Support",
    "APPDATA": "AppData/Roaming",
    "LOCALAPPDATA": "AppData/Local",
    "XDG_CONFIG_HOME": ".config",
    "CLAUDE_CONFIG_DIR": "",
    "GEMINI_CLI_HOME": "",
}
"""Folders that a variable of the same name may move, and where they lie in the home folder otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a file may lie: a path below a root. A ``*`` in it stands for a name that differs between machines."""

    root: Root
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An MCP host: its file, and how a server is written there.

    ``places`` are looked at in order. ``constants`` are the fields of a new entry that are the same for everybody;
    ``afterwards`` tells the user what to do next.
    """

    name: HostName
    title: str
    places: Mapping[Platform, tuple[Place, ...]]
    container: str
    afterwards: str
    format: Literal["jsonc", "yaml"] = "jsonc"
    constants: Mapping[str, object] = field(default_factory=dict[str, object])
    command: str = "command"
    env: str = "env"


def _everywhere(place: Place) -> Mapping[Platform, tuple[Place, ...]]:
    return {"darwin": (place,), "win32": (place,), "linux": (place,)}


def _application(path: str, *others: str) -> Mapping[Platform, tuple[Place, ...]]:
    """The places of an Electron application's data, which Electron calls ``appData``."""
    paths = (path, *others)
    return {
        "darwin": tuple(Place(root="APPLICATION_SUPPORT", path=each) for each in paths),
        "win32": tuple(Place(root="APPDATA", path=each) for each in paths),
        "linux": tuple(Place(root="XDG_CONFIG_HOME", path=each) for each in paths),
    }


_CLAUDE = _application("Claude/claude_desktop_config.json")

HOSTS: Mapping[HostName, Host] = {
    host.name: host
    for host in (
        # https://modelcontextprotocol.io/docs/develop/connect-local-servers. On Windows the application is an MSIX package
        # since February 2026 and sees the file in its own folder alone: https://github.com/anthropics/claude-code/issues/26073
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            places={
                **_CLAUDE,
                "win32": (
                    Place(
                        root="LOCALAPPDATA",
                        path="Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
                    ),
                    *_CLAUDE["win32"],
                ),
            },
            container="mcpServers",
            afterwards="Quit Claude Desktop (closing its window is not enough) and start it again.",
        ),
        # https://code.claude.com/docs/en/mcp: user scope
        Host(
            name="claude-code",
            title="Claude Code",
            places=_everywhere(Place(root="CLAUDE_CONFIG_DIR", path=".claude.json")),
            container="mcpServers",
            constants={"type": "stdio"},
            afterwards="Start a new session; /mcp lists the servers. Sessions that are open may write the file anew.",
        ),
        # https://cursor.com/docs/mcp
        Host(
            name="cursor",
            title="Cursor",
            places=_everywhere(Place(root="HOME", path=".cursor/mcp.json")),
            container="mcpServers",
            constants={"type": "stdio"},
            afterwards="Cursor finds it at once; switch it on under Settings, Tools & MCP.",
        ),
        # https://code.visualstudio.com/docs/copilot/reference/mcp-configuration
        Host(
            name="vscode",
            title="Visual Studio Code",
            places=_application("Code/User/mcp.json", "Code - Insiders/User/mcp.json"),
            container="servers",
            constants={"type": "stdio"},
            afterwards="Run the command MCP: List Servers in Visual Studio Code, start pointsman and say that you trust it.",
        ),
        # https://docs.windsurf.com/windsurf/cascade/mcp
        Host(
            name="windsurf",
            title="Windsurf",
            places=_everywhere(Place(root="HOME", path=".codeium/windsurf/mcp_config.json")),
            container="mcpServers",
            afterwards="Press refresh among Cascade's MCP servers, or start Windsurf again.",
        ),
        # https://zed.dev/docs/ai/mcp and https://zed.dev/docs/configuring-zed
        Host(
            name="zed",
            title="Zed",
            places={
                "darwin": (Place(root="HOME", path=".config/zed/settings.json"),),
                "win32": (Place(root="APPDATA", path="Zed/settings.json"),),
                "linux": (Place(root="XDG_CONFIG_HOME", path="zed/settings.json"),),
            },
            container="context_servers",
            afterwards="Zed finds it at once; a green dot in the settings of the Agent Panel says that it runs.",
        ),
        # https://geminicli.com/docs/tools/mcp-server
        Host(
            name="gemini-cli",
            title="Gemini CLI",
            places=_everywhere(Place(root="GEMINI_CLI_HOME", path=".gemini/settings.json")),
            container="mcpServers",
            afterwards="Start a new session; /mcp lists the servers.",
        ),
        # https://block.github.io/goose/docs/guides/config-files and ExtensionConfig::Stdio in its sources
        Host(
            name="goose",
            title="goose",
            places={
                "darwin": (Place(root="XDG_CONFIG_HOME", path="goose/config.yaml"),),
                "win32": (Place(root="APPDATA", path="Block/goose/config/config.yaml"),),
                "linux": (Place(root="XDG_CONFIG_HOME", path="goose/config.yaml"),),
            },
            container="extensions",
            format="yaml",
            constants={
                "enabled": True,
                "type": "stdio",
                "name": "pointsman",
                "description": "Sends each task to the cheapest model that is good enough",
                "timeout": 300,
            },
            command="cmd",
            env="envs",
            afterwards="Start a new goose session.",
        ),
    )
}
