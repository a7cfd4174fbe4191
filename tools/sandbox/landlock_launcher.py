"""Builds walls about itself out of Landlock, seccomp and rlimits, and becomes the guest within them.

    python -I -S landlock_launcher.py '{"readable": […], "writable": folder, "tmp_bytes": n, "guest": [guest.py, argument]}'

    started by root?  it becomes nobody
    the warden        stays outside, counts what lies in the guest's folder, and ends as the guest ends
    the guest         Landlock, seccomp, then guest.py in this very process, which therefore needs no `execve`

What each wall holds: Landlock what is opened, linked, renamed and removed, and ptrace (from ABI 6 on also signals and
abstract sockets, from ABI 4 TCP); seccomp what Landlock does not see (`seccomp.py`); guest.py sets the rlimits. What neither
holds: the guest can ask whether a path exists, and how large and how old it is.

Kernel documentation: userspace-api/landlock; `linux/landlock.h`. Standard library only: it runs on its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
from pathlib import Path
from struct import pack
from typing import Any, NamedTuple, NoReturn

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_ONLY, _BENEATH_PATH = 1, 1
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 1, 4, 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_THE_FIRST_ABI = (1 << 13) - 1
_ADDED = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_TCP_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11
_ABI_WITH_NETWORK, _ABI_WITH_SCOPES = 4, 6

_READING = _READ_FILE | _READ_DIR
_OWNING = (
    _READING | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
)  # fmt: skip
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICES = {"/dev/null": _READ_FILE | _WRITE_FILE, "/dev/zero": _READ_FILE, "/dev/urandom": _READ_FILE}

_SECONDS_BETWEEN_COUNTS = 0.05
ENTRY_BYTES = 4096  # what an empty file or folder is counted as, so that their number is bounded too


class Walls(NamedTuple):
    """What the guest may read and write, and what is run in it: the program's path and its one argument."""

    readable: list[str]
    writable: str
    tmp_bytes: int
    guest: list[str]


def abi() -> int:
    """The version of Landlock that the kernel speaks; 0 where it has none, or where it is switched off."""
    if sys.platform != "linux":
        return 0
    version: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_ONLY)
    return max(0, version)


def main() -> NoReturn:
    """Build the walls and be the guest; the warden ends as the guest ends."""
    walls = Walls(**json.loads(sys.argv[1]))
    guest = _beside("guest.py")
    seccomp = _beside("seccomp.py")
    guest["drop_privileges"]()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _control_process(_SET_DUMPABLE, 1)  # a change of user takes away the warden's sight of the guest's files
    _control_process(_SET_PDEATHSIG, signal.SIGKILL)
    if child := os.fork():
        _watch(child, walls)
    _control_process(_SET_PDEATHSIG, signal.SIGKILL)
    _restrict(walls)
    seccomp["install"](seccomp["program"](confined_by_namespaces=False))
    sys.argv[:] = walls.guest
    guest["main"]()
    raise AssertionError("a guest serves until it ends")


def _beside(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).with_name(name)))


def _control_process(option: int, value: int) -> None:
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0), "prctl")


def _restrict(walls: Walls) -> None:
    """Put this process, and threads it starts from now on, into a Landlock domain. It cannot be undone."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = abi()
    files = _OF_THE_FIRST_ABI | sum(right for since, right in _ADDED.items() if version >= since)
    network = [_TCP_BIND_AND_CONNECT] if version >= _ABI_WITH_NETWORK else []
    scopes = [_ABSTRACT_SOCKETS_AND_SIGNALS] if version >= _ABI_WITH_SCOPES else []
    attributes = pack(f"={1 + len(network) + len(scopes)}Q", files, *network, *scopes)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "Landlock")
    rights = {**dict.fromkeys(walls.readable, _READING), **_DEVICES, walls.writable: _OWNING}
    for path, allowed in rights.items():
        _allow(libc, ruleset, path, allowed & files)
    _control_process(_SET_NO_NEW_PRIVILEGES, 1)
    _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a system without /usr/lib64 has nothing to allow there
    if not Path(path).is_dir():
        rights &= _OF_FILES
    rule = pack("=Qi", rights, opened)
    _checked(libc.syscall(_ADD_RULE, ruleset, _BENEATH_PATH, rule, 0), f"Landlock: {path}")
    os.close(opened)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _watch(child: int, walls: Walls) -> NoReturn:
    """Kill the guest when its folder holds too much; end when it ends, in the same way."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):  # the host must see them close when the guest's close
        os.dup2(null, fd)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _end_as(os.waitstatus_to_exitcode(status))
        if holds_more(walls.writable, child, walls.tmp_bytes):
            os.kill(child, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, _SECONDS_BETWEEN_COUNTS)


def holds_more(folder: str, child: int, most: int) -> bool:
    """Whether more lies in a guest's folder than it may; a folder that cannot be counted is too much as well."""
    used = 0
    unread = [folder]
    try:
        used = unlinked_bytes(child)
        while unread and used <= most:
            with os.scandir(unread.pop()) as entries:
                for entry in entries:
                    used += ENTRY_BYTES + entry.stat(follow_symlinks=False).st_blocks * 512
                    unread += [entry.path] * entry.is_dir(follow_symlinks=False)
    except FileNotFoundError:
        return False  # removed while it was looked at: the next count sees what is left
    except OSError:
        return True
    return used > most


def unlinked_bytes(child: int) -> int:
    """The bytes of files that have no name any more and are still open."""
    used = 0
    for fd in Path(f"/proc/{child}/fd").iterdir():
        try:
            found = fd.stat()
        except FileNotFoundError:
            continue
        used += found.st_blocks * 512 * (found.st_nlink == 0)
    return used


def _end_as(code: int) -> NoReturn:
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
