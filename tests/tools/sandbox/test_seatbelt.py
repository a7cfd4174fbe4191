"""The profile and the command line as text: what macOS makes of them is for the probe to find out, on a Mac."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tools.sandbox.seatbelt import Seatbelt
from tools.sandbox.types import GUEST_PROGRAM, Launch, Limits


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Seatbelt(folder=tmp_path).launch(Limits())


def profile_of(launch: Launch) -> str:
    return launch.argv[launch.argv.index("-p") + 1]


def parameters_of(launch: Launch) -> dict[str, str]:
    defined = [launch.argv[at + 1] for at, word in enumerate(launch.argv) if word == "-D"]
    return dict(parameter.split("=", 1) for parameter in defined)


def allowed(launch: Launch) -> dict[str, str]:
    """What each `allow` of the profile grants, by its operations."""
    return dict(re.findall(r"^\(allow ([a-z*\- ]+?)(?: (\(.*))?\)$", profile_of(launch), re.MULTILINE))


def test_it_denies_by_default_and_allows_no_more_than_it_says(launch: Launch) -> None:
    assert profile_of(launch).splitlines()[:2] == ["(version 1)", "(deny default)"]
    assert set(allowed(launch)) == {
        "process-exec",
        "sysctl-read",
        "file-read-metadata",
        "file-read-data",
        "file-read*",
        "file-write-data",
        "file-read* file-write*",
    }


def test_one_folder_is_written_to_and_one_device(launch: Launch) -> None:
    assert allowed(launch)["file-read* file-write*"] == '(subpath (param "FOLDER"))'
    assert allowed(launch)["file-write-data"] == '(literal "/dev/null")'


def test_only_the_interpreters_programs_are_run(launch: Launch) -> None:
    assert allowed(launch)["process-exec"] == '(subpath (param "PREFIX"))'
    assert parameters_of(launch)["PREFIX"] == str(Path(sys.base_prefix).resolve())


def test_homes_are_not_read(launch: Launch) -> None:
    readable = [value for name, value in parameters_of(launch).items() if name.startswith("READABLE")]
    assert not {"/", "/Users", "/private", str(Path.home()), str(Path(GUEST_PROGRAM).parent)} & set(readable)
    assert parameters_of(launch)["GUEST"] == str(GUEST_PROGRAM)


def test_every_parameter_is_defined_and_no_path_of_ours_stands_in_the_profile(launch: Launch) -> None:
    used = set(re.findall(r'\(param "([A-Z_0-9]+)"\)', profile_of(launch)))
    assert used == set(parameters_of(launch))
    assert not [
        value
        for name, value in parameters_of(launch).items()
        if f'"{value}"' in profile_of(launch) and name == "FOLDER"
    ]


def test_a_folder_cannot_end_a_string_of_the_profile(tmp_path: Path) -> None:
    hostile = tmp_path / '") (allow default) ("'
    hostile.mkdir()
    assert "allow default" not in profile_of(Seatbelt(folder=hostile).launch(Limits()))


def test_the_folder_is_the_guests_and_goes_with_it(launch: Launch, tmp_path: Path) -> None:
    (folder,) = tmp_path.iterdir()
    assert launch.env == {"LANG": "C.UTF-8", "TMPDIR": str(folder)}
    launch.end()
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert "macOS" in (Seatbelt(platform="linux").missing() or "")
    assert "sandbox-exec" in (Seatbelt(platform="darwin", program=tmp_path / "sandbox-exec").missing() or "")
    tmp_path.joinpath("sandbox-exec").touch()
    assert Seatbelt(platform="darwin", program=tmp_path / "sandbox-exec").missing() is None
