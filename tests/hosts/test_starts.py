"""The exact command of every generated configuration is started over stdio, lists its tools and answers a call."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

import server
from hosts import links
from hosts.machine import Machine
from hosts.table import HOSTS, ROOTS, Host

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parent.parent.parent
KEY = {"OPENAI_API_KEY": "sk-test"}
Started = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]
"""A command, its arguments, and its variables."""

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


async def provider_chosen_by(command: str, args: Sequence[str], home: Path, env: Mapping[str, str]) -> str:
    """Start a server as a host does, with the older handshake, and let it choose for a task: whose model it would ask."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "POINTSMAN_HOME": str(home),
        "POINTSMAN_DISCOVER": "false",
        **env,
    }
    parameters = StdioServerParameters(command=command, args=[*args], env=env, cwd=str(home))
    async with Client(stdio_client(parameters), mode="legacy") as host:
        assert host.server_info is not None
        assert host.server_info.name == "pointsman"
        assert "route_and_answer" in [tool.name for tool in (await host.list_tools()).tools]
        result = await host.call_tool("classify_task", {"prompt": "What is the capital of France?"})
    assert result.structured_content is not None
    assert result.structured_content["task_analysis"]["category"] == "qa_retrieval"
    return str(result.structured_content["model_selection"]["provider"])


def program(folder: Path, name: str, code: str) -> Path:
    """A stand-in for a program of somebody else's, first on the path."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def entry_in(host: Host, home: Path) -> Started:
    """What the host would start, read from its own file."""
    path = Machine(home=home, platform=sys.platform, environment={}).file_of(host)
    text = path.read_text(encoding="utf-8")
    file: Any = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    entry = file[host.container]["pointsman"]
    return entry[host.command], tuple(entry["args"]), tuple(entry.get(host.env, {}).items())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody who has a key and no settings."""
    for root in ROOTS:
        monkeypatch.delenv(root, raising=False)
    for name in ("HOME", "USERPROFILE", "POINTSMAN_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`server.py install NAME --with-key OPENAI_API_KEY`, in this process."""
    monkeypatch.setattr(sys, "argv", ["server.py", "install", name, "--with-key", *KEY])
    with pytest.raises(SystemExit) as ended:
        server.main()
    assert not ended.value.code


def install_from(site: Path, name: str, home: Path) -> None:
    """`pointsman install NAME` of the installed package."""
    command = [sys.executable, "-m", "pointsman", "install", name]
    env = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


async def test_what_install_writes_for_every_host_starts_the_checkout_with_the_key_that_was_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: set[Started] = set()
    for name, host in HOSTS.items():
        install(name, monkeypatch)
        started.add(entry_in(host, home))

    for command, args, env in started:
        assert Path(command).is_absolute()
        assert dict(env) == KEY
        assert await provider_chosen_by(command, args, home, dict(env)) == "openai"


async def test_what_install_prints_for_any_other_host_starts_the_checkout(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("json", monkeypatch)
    entry = json.loads(capsys.readouterr().out)["mcpServers"]["pointsman"]

    assert await provider_chosen_by(entry["command"], entry["args"], home, entry["env"]) == "openai"


async def test_what_install_writes_from_the_installed_package_starts_that(home: Path, site: Path) -> None:
    install_from(site, "goose", home)

    command, args, variables = entry_in(HOSTS["goose"], home)
    assert args == ("-m", "pointsman")
    assert not variables
    assert await provider_chosen_by(command, args, home, {"PYTHONPATH": str(site)}) == "local"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for uvx is a script with a shebang")
async def test_what_the_links_carry_starts_the_published_package(tmp_path: Path, site: Path) -> None:
    program(tmp_path, "uvx", UVX)
    config: Any = links.config_of()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    env = {"PATH": path, "PYTHONPATH": str(site)}
    assert await provider_chosen_by(config["command"], config["args"], tmp_path, env) == "local"


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
    assert await provider_chosen_by(config["command"], args, tmp_path, {**env, "PATH": path}) == "local"
