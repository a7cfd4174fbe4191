"""Where each host keeps its file, on each platform."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from hosts.machine import Machine
from hosts.table import HOSTS, HostName

ROWS = """
claude-desktop  darwin  Library/Application Support/Claude/claude_desktop_config.json
claude-desktop  win32   AppData/Roaming/Claude/claude_desktop_config.json
claude-desktop  linux   .config/Claude/claude_desktop_config.json
claude-code     darwin  .claude.json
claude-code     win32   .claude.json
claude-code     linux   .claude.json
cursor          darwin  .cursor/mcp.json
cursor          win32   .cursor/mcp.json
cursor          linux   .cursor/mcp.json
vscode          darwin  Library/Application Support/Code/User/mcp.json
vscode          win32   AppData/Roaming/Code/User/mcp.json
vscode          linux   .config/Code/User/mcp.json
windsurf        darwin  .codeium/windsurf/mcp_config.json
windsurf        win32   .codeium/windsurf/mcp_config.json
windsurf        linux   .codeium/windsurf/mcp_config.json
zed             darwin  .config/zed/settings.json
zed             win32   AppData/Roaming/Zed/settings.json
zed             linux   .config/zed/settings.json
gemini-cli      darwin  .gemini/settings.json
gemini-cli      win32   .gemini/settings.json
gemini-cli      linux   .gemini/settings.json
goose           darwin  .config/goose/config.yaml
goose           win32   AppData/Roaming/Block/goose/config/config.yaml
goose           linux   .config/goose/config.yaml
"""
PLACES = [tuple(line.split(maxsplit=2)) for line in ROWS.strip().splitlines()]


def test_the_rows_below_speak_of_every_host_on_every_platform() -> None:
    assert {(host, platform) for host, platform, _ in PLACES} == {
        (name, platform) for name in HOSTS for platform in ("darwin", "win32", "linux")
    }


@pytest.mark.parametrize(("host", "platform", "path"), PLACES)
def test_a_file_lies_where_its_host_looks_for_it(tmp_path: Path, host: HostName, platform: str, path: str) -> None:
    machine = Machine(home=tmp_path, platform=platform, environment={})
    assert machine.file_of(HOSTS[host]) == tmp_path / PurePosixPath(path)


def test_claude_desktop_packaged_for_windows_reads_the_file_in_its_own_folder(tmp_path: Path) -> None:
    packaged = tmp_path / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
    for folder in (packaged, tmp_path / "AppData/Roaming/Claude"):
        folder.mkdir(parents=True)
    machine = Machine(home=tmp_path, platform="win32", environment={})

    assert machine.file_of(HOSTS["claude-desktop"]) == packaged / "claude_desktop_config.json"


def test_the_insiders_edition_is_found_where_it_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / ".config/Code - Insiders/User").mkdir(parents=True)
    machine = Machine(home=tmp_path, platform="linux", environment={})

    assert machine.file_of(HOSTS["vscode"]) == tmp_path / ".config/Code - Insiders/User/mcp.json"


@pytest.mark.parametrize(
    ("host", "platform", "variable", "path"),
    [
        ("claude-code", "darwin", "CLAUDE_CONFIG_DIR", ".claude.json"),
        ("zed", "linux", "XDG_CONFIG_HOME", "zed/settings.json"),
        ("vscode", "win32", "APPDATA", "Code/User/mcp.json"),
        ("gemini-cli", "linux", "GEMINI_CLI_HOME", ".gemini/settings.json"),
    ],
)
def test_a_variable_moves_the_folder_as_it_does_for_the_host(
    tmp_path: Path, host: HostName, platform: str, variable: str, path: str
) -> None:
    machine = Machine(home=tmp_path / "home", platform=platform, environment={variable: str(tmp_path / "moved")})
    assert machine.file_of(HOSTS[host]) == tmp_path / "moved" / path


def test_another_unix_keeps_its_files_where_linux_does(tmp_path: Path) -> None:
    machine = Machine(home=tmp_path, platform="freebsd14", environment={})
    assert machine.file_of(HOSTS["zed"]) == tmp_path / ".config/zed/settings.json"
