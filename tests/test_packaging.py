"""The wheel: it holds what it should, and shakes hands in an environment of its own folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

import server

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def test_everything_in_the_wheel_lies_under_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names}

    assert packages == {"pointsman", f"pointsman-{server.VERSION}.dist-info"}
    for needed in (
        "server.py",
        "serving.py",
        "access/guard.py",
        "composition.py",
        "cli.py",
        "registry.json",
        "routing/registry.schema.json",
        "routing/embedded/child.py",
        "routing/analyzer/weights/encoder.bin",
        "routing/analyzer/weights/heads.npz",
        "routing/analyzer/weights/manifest.json",
    ):
        assert f"pointsman/{needed}" in names
    assert not [name for name in names if name.endswith(".pth") or "test" in name]


def test_all_weights_in_the_wheel_are_small(wheel: Path) -> None:
    weights = [one for one in zipfile.ZipFile(wheel).infolist() if "/weights/" in one.filename]
    assert sum(one.file_size for one in weights) < 30_000_000


async def test_the_installed_package_shakes_hands(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(site),
        "HOME": str(tmp_path),
        "POINTSMAN_HOME": str(tmp_path / "home"),
        "POINTSMAN_DISCOVER": "false",
    }
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "pointsman"], env=env, cwd=str(tmp_path))
    async with Client(stdio_client(parameters)) as host:
        tools = (await host.list_tools()).tools

    assert "route_and_answer" in [tool.name for tool in tools]
