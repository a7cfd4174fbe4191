"""The bundle is valid and can be packed, by the program that hosts' makers publish for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conformance import npm
from tests.test_transports import ROOT

pytestmark = pytest.mark.conformance
BESIDE_THE_WHEEL = ("manifest.json", "pyproject.toml", "README.md", "LICENSE")
"""What `make mcpb` adds to what the wheel holds."""


def test_mcpb_takes_the_manifest_and_packs_the_bundle(tmp_path: Path) -> None:
    mcpb = npm.mcpb()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path)
    folder, bundle = tmp_path / "pointsman", tmp_path / "pointsman.mcpb"
    for name in BESIDE_THE_WHEEL:
        shutil.copy(ROOT / name, folder)

    validated = mcpb.run("validate", str(folder / "manifest.json"))
    packed = mcpb.run("pack", str(folder), str(bundle))

    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert packed.returncode == 0, packed.stdout + packed.stderr
    held = set(zipfile.ZipFile(bundle).namelist())
    assert {"manifest.json", "server.py", "registry.json", "pyproject.toml"} <= held
    assert json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))["server"]["entry_point"] in held
    print("mcpb validate:", validated.stdout.strip().splitlines()[-1])  # noqa: T201 - what it says
    print(f"mcpb pack: {len(held)} files, {bundle.stat().st_size / 1e6:.1f} MB")  # noqa: T201 - what it made
