from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.sandbox import Sandbox, landlock, landlock_launcher, scratch
from tools.sandbox.guests import Guest
from tools.sandbox.landlock import Landlock
from tools.sandbox.types import Limits

here = pytest.mark.skipif(Landlock().missing() is not None, reason=str(Landlock().missing()))
linux = pytest.mark.skipif(sys.platform != "linux", reason="Landlock is for Linux")


@linux
def test_a_kernel_without_landlock_is_told_what_it_lacks() -> None:
    assert "Linux 5.13" in (Landlock(abi=lambda: 0).missing() or "")
    assert Landlock(abi=lambda: 1).missing() is None


@here
@pytest.mark.anyio
async def test_code_runs_in_it_through_the_face_of_the_sandbox(tmp_path: Path) -> None:
    sandbox = Sandbox([Landlock(folder=tmp_path)])
    try:
        verdict = await sandbox.available()
        outcome = await sandbox.run("open('x', 'w').write('1'); 6 * 7", caller="me")
    finally:
        await sandbox.aclose()
    assert verdict.problem is None
    assert (outcome.value, outcome.exit_reason) == ("42", "finished")


@here
@pytest.mark.anyio
async def test_a_guests_folder_is_its_users_alone_and_goes_with_it(tmp_path: Path) -> None:
    guest = await Guest.begin(Landlock(folder=tmp_path), Limits())
    await guest.run("import os; os.makedirs('a/b/c'); open('a/b/c/x', 'w').write('1')", timeout_seconds=10)
    during = modes_and_owners(tmp_path)
    await guest.end()
    assert during == [(0o700, os.geteuid() or 65534)]
    assert modes_and_owners(tmp_path) == []


def modes_and_owners(folder: Path) -> list[tuple[int, int]]:
    return [(stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) for path in folder.iterdir()]


@here
@pytest.mark.anyio
async def test_the_warden_ends_as_the_guest_ends(tmp_path: Path) -> None:
    guest = await Guest.begin(Landlock(folder=tmp_path), Limits())
    outcome = await guest.run("import ctypes; ctypes.string_at(1)", timeout_seconds=10)
    assert outcome.exit_reason == "killed"
    assert "SIGSEGV" in outcome.notices[0]


@here
@pytest.mark.anyio
async def test_a_guest_whose_folder_holds_too_much_is_killed(tmp_path: Path) -> None:
    guest = await Guest.begin(Landlock(folder=tmp_path), replace(Limits(), tmp_bytes=1 << 20))
    outcome = await guest.run("open('x', 'wb').write(bytes(3 << 20))\nwhile True: pass", timeout_seconds=20)
    assert outcome.exit_reason == "killed"
    assert "SIGKILL" in outcome.notices[0]


@linux
def test_the_warden_counts_empty_files_and_files_without_a_name(tmp_path: Path) -> None:
    for number in range(10):
        tmp_path.joinpath(str(number)).touch()
    entries = 10 * landlock_launcher.ENTRY_BYTES
    assert not landlock_launcher.holds_more(str(tmp_path), os.getpid(), entries + (1 << 20))
    assert landlock_launcher.holds_more(str(tmp_path), os.getpid(), entries - 1)
    before = landlock_launcher.unlinked_bytes(os.getpid())
    with tmp_path.joinpath("big").open("wb") as file:
        file.write(bytes(4 << 20))
        file.flush()
        os.fsync(file.fileno())
        tmp_path.joinpath("big").unlink()
        assert landlock_launcher.unlinked_bytes(os.getpid()) - before >= 4 << 20


@linux
def test_the_warden_follows_no_link_and_looks_into_every_folder(tmp_path: Path) -> None:
    inner = tmp_path / "guest" / "a" / "b"
    inner.mkdir(parents=True)
    tmp_path.joinpath("large").write_bytes(bytes(4 << 20))
    inner.joinpath("link").symlink_to(tmp_path / "large")
    inner.joinpath("up").symlink_to(tmp_path)
    assert not landlock_launcher.holds_more(str(tmp_path / "guest"), os.getpid(), 1 << 20)
    inner.joinpath("real").write_bytes(os.urandom(2 << 20))
    os.sync()
    assert landlock_launcher.holds_more(str(tmp_path / "guest"), os.getpid(), 1 << 20)


def test_a_tree_that_is_too_deep_for_python_is_removed(tmp_path: Path) -> None:
    folder = scratch.made(tmp_path)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    scratch.remove(folder)
    assert list(tmp_path.iterdir()) == []


RESTRICTED = """
import runpy, sys
launcher = runpy.run_path(sys.argv[1])
launcher["_restrict"].__globals__["abi"] = lambda: int(sys.argv[2])
walls = launcher["Walls"](readable=[sys.base_prefix + "/lib", "/nowhere"], writable=sys.argv[3], tmp_bytes=0, guest=[])
launcher["_restrict"](walls)
print(open(sys.argv[3] + "/own", "w").write("own"), open(sys.argv[3] + "/own").read())
for path, mode in ((sys.argv[4], "r"), (sys.argv[4], "a"), ("/etc/passwd", "r"), ("/proc/self/environ", "r")):
    try:
        print("reached", open(path, mode))
    except PermissionError as error:
        print(error.errno)
"""


@here
@pytest.mark.parametrize("version", range(1, landlock_launcher.abi() + 1))
def test_every_version_of_landlock_up_to_this_kernels_holds(version: int, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    canary = tmp_path / "canary"
    canary.touch()
    command = (sys.executable, "-I", "-S", "-c", RESTRICTED, landlock_launcher.__file__, str(version), folder, canary)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout.split(), result.stderr) == (["3", "own", "13", "13", "13", "13"], "")


folders = st.lists(st.sampled_from(["/a", "/a/b", "/a/b/c", "/d"]), unique=True, min_size=1)


@given(folders, st.sampled_from(["/a/x", "/a/b/x", "/a/b/c/x", "/d/x", "/e/x", "/ab/x"]))
def test_a_path_is_found_through_the_innermost_folder_that_was_opened(opened: list[str], path: str) -> None:
    inside = {folder: f"/fd/{folder.replace('/', '.')}" for folder in opened}
    holding = [folder for folder in opened if path.startswith(f"{folder}/")]
    found = landlock.path_inside(inside, path)
    if holding:
        innermost = max(holding, key=len)
        assert found == inside[innermost] + path.removeprefix(innermost)
    else:
        assert found == path


@linux
def test_the_command_line_and_environment_hold_nothing_of_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_CANARY_KEY", "canary-value")
    launch = Landlock(folder=tmp_path).launch(Limits())
    try:
        assert set(launch.env) == {"LANG", "TMPDIR", "MALLOC_ARENA_MAX"}
        assert "canary-value" not in str(launch)
    finally:
        launch.close()
        launch.end()
    assert list(tmp_path.iterdir()) == []
