"""Which backends a setting allows, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from routing.errors import SettingsError
from routing.settings import Settings
from tools.sandbox import Sandbox
from tools.sandbox.backends import backends


def settings_with(home: Path, **values: str) -> Settings:
    return Settings.model_validate({"home": home, **values})


def names(home: Path, **values: str) -> list[str]:
    return [backend.name for backend in backends(settings_with(home, **values))]


def test_the_strongest_comes_first(tmp_path: Path) -> None:
    assert names(tmp_path) == ["bubblewrap", "docker", "podman", "landlock", "sandbox-exec", "webassembly"]


def test_containers_with_a_kernel_of_their_own_come_before_all_others(tmp_path: Path) -> None:
    strongest = names(tmp_path, sandbox_runtime="runsc", sandbox_image="python:3.13")[:3]

    assert strongest == ["docker-runsc", "podman-runsc", "bubblewrap"]


def test_a_name_allows_that_one_alone(tmp_path: Path) -> None:
    assert names(tmp_path, sandbox="landlock") == ["landlock"]


def test_off_allows_none(tmp_path: Path) -> None:
    assert names(tmp_path, sandbox="off") == []
    assert not Sandbox(backends(settings_with(tmp_path, sandbox="off"))).may_hold


def test_a_name_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"POINTSMAN_SANDBOX=subprocess is no sandbox.*bubblewrap"):
        names(tmp_path, sandbox="subprocess")


def test_a_backend_that_lacks_something_is_not_counted_on(tmp_path: Path) -> None:
    assert not Sandbox(backends(settings_with(tmp_path, sandbox="docker"))).may_hold  # no image is named
