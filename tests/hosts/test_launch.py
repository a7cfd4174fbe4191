"""How a host starts this copy again: from a checkout, from an installed package, from uvx."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hosts.launch import Launch, Running, launch_of


def running(here: Path, prefix: Path, uvx: str | None = "/home/me/.local/bin/uvx") -> Running:
    return Running(here=here, version="1.2.3", uvx=uvx, executable=prefix / "bin/python", prefix=prefix)


def installed(prefix: Path, origin: object = None) -> Path:
    """The package's folder in an environment, with the metadata that an installer leaves beside it."""
    site = prefix / "lib/site-packages"
    (site / "pointsman").mkdir(parents=True)
    metadata = site / "pointsman-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.4\nName: pointsman\nVersion: 1.2.3\n")
    if origin is not None:
        (metadata / "direct_url.json").write_text(json.dumps(origin))
    return site / "pointsman"


def test_a_checkout_is_started_by_its_own_python_and_its_server(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    prefix = tmp_path / ".venv"
    assert launch_of(running(tmp_path, prefix)) == Launch(
        command=str(prefix / "bin/python"), args=(str(tmp_path / "server.py"),)
    )


def test_an_installed_package_is_started_as_a_module_of_its_python(tmp_path: Path) -> None:
    here = installed(tmp_path / "venv")
    assert launch_of(running(here, tmp_path / "venv")) == Launch(
        command=str(tmp_path / "venv/bin/python"), args=("-m", "pointsman")
    )


@pytest.mark.parametrize(
    ("origin", "args"),
    [
        (None, ("pointsman@1.2.3",)),
        (
            {"url": "file:///dist/pointsman-1.2.3.whl", "archive_info": {}},
            ("--from", "file:///dist/pointsman-1.2.3.whl", "pointsman"),
        ),
        (
            {"url": "https://git.example/pointsman", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
            ("--from", "git+https://git.example/pointsman@ab12", "pointsman"),
        ),
    ],
)
def test_what_uvx_made_for_this_run_only_is_made_by_uvx_again_from_the_same_source(
    tmp_path: Path, origin: object, args: tuple[str, ...]
) -> None:
    prefix = tmp_path / "uv/archive-v0/x1y2"
    assert launch_of(running(installed(prefix, origin), prefix)) == Launch(command="/home/me/.local/bin/uvx", args=args)


def test_without_uvx_the_python_that_runs_is_named_even_in_the_cache(tmp_path: Path) -> None:
    prefix = tmp_path / "uv/archive-v0/x1y2"
    assert launch_of(running(installed(prefix), prefix, uvx=None)).args == ("-m", "pointsman")
