"""The exact command of every generated configuration is started over stdio, and gives the list of tools."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from hosts import links
from hosts.install import added, made
from hosts.launch import Launch, Running, launch_of
from hosts.machine import Machine
from hosts.table import HOSTS

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parent.parent.parent
UVX = """
import runpy, sys
from importlib.metadata import distribution
(name,) = sys.argv[1:]
(script,) = (each for each in distribution("pointsman").entry_points if each.group == "console_scripts" and each.name == name)
sys.argv[:] = [name]
script.load()()
"""
UV = """
import os, sys
run, no_dev, directory, folder, script = sys.argv[1:]
assert (run, no_dev, directory) == ("run", "--no-dev", "--directory")
os.chdir(folder)
os.execv(sys.executable, [sys.executable, script])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


async def tools_of(command: str, args: list[str], home: Path, env: Mapping[str, str]) -> list[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "POINTSMAN_HOME": str(home),
        "POINTSMAN_DISCOVER": "false",
        **env,
    }
    parameters = StdioServerParameters(command=command, args=args, env=env, cwd=str(home))
    async with Client(stdio_client(parameters)) as host:
        return [tool.name for tool in (await host.list_tools()).tools]


def program(folder: Path, name: str, code: str) -> Path:
    """A stand-in for a program of somebody else's, first on the path."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def written(folder: Path, launch: Launch) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What each host would start, read from its own file."""
    commands: dict[str, tuple[str, tuple[str, ...]]] = {}
    for host in HOSTS.values():
        path = Machine(home=folder, platform=sys.platform, environment={}).file_of(host)
        made(added(host, path, launch, {}), datetime.now(UTC))
        text = path.read_text(encoding="utf-8")
        file: Any = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        entry = file[host.container]["pointsman"]
        commands[host.name] = (entry[host.command], tuple(entry["args"]))
    return commands


async def test_what_is_written_for_every_host_starts_the_checkout(tmp_path: Path) -> None:
    commands = written(tmp_path, launch_of(Running(here=ROOT, version="0", uvx=None)))

    assert commands.keys() == HOSTS.keys()
    for command, args in set(commands.values()):
        assert Path(command).is_absolute()
        assert "route_and_answer" in await tools_of(command, list(args), tmp_path, {})


async def test_what_is_written_for_every_host_starts_the_installed_package(tmp_path: Path, site: Path) -> None:
    commands = written(tmp_path, launch_of(Running(here=site / "pointsman", version="0", uvx=None)))

    for command, args in set(commands.values()):
        assert "route_and_answer" in await tools_of(command, list(args), tmp_path, {"PYTHONPATH": str(site)})


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uvx is a script with a shebang")
async def test_what_the_links_carry_starts_the_published_package(tmp_path: Path, site: Path) -> None:
    program(tmp_path, "uvx", UVX)
    config: Any = links.config_of()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    tools = await tools_of(config["command"], config["args"], tmp_path, {"PATH": path, "PYTHONPATH": str(site)})
    assert "route_and_answer" in tools


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uv is a script with a shebang")
async def test_the_bundle_starts_from_its_own_folder_with_no_key_filled_in(tmp_path: Path, site: Path) -> None:
    program(tmp_path, "uv", UV)
    manifest = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
    config = manifest["server"]["mcp_config"]
    bundle = site / "pointsman"
    args = [arg.replace("${__dirname}", str(bundle)) for arg in config["args"]]
    env = dict.fromkeys(config["env"], "")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    assert (bundle / manifest["server"]["entry_point"]).is_file()
    assert "route_and_answer" in await tools_of(config["command"], args, tmp_path, {**env, "PATH": path})
