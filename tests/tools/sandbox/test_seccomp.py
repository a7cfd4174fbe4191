from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from struct import iter_unpack, pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.sandbox import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
MACHINES = pytest.mark.parametrize("machine", AUDIT)
EVERYWHERE = pytest.mark.parametrize("confined", [True, False], ids=["namespaces", "none"])
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
words = st.integers(0, 2**32 - 1)
longs = st.integers(0, 2**64 - 1)


@cache
def filter_of(machine: str, confined: bool) -> bytes:  # noqa: FBT001 - a key of the cache
    return seccomp.program(confined_by_namespaces=confined, machine=machine)


@cache
def decoded(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(iter_unpack("=HBBI", program))


def verdict(program: bytes, number: int, *arguments: int, audit: int) -> int:
    """Run a filter as the kernel does: classic BPF over a ``struct seccomp_data``."""
    padded = [argument % 2**64 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    call = pack("<IIQ6Q", number % 2**32, audit, 0, *padded)
    code = decoded(program)
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = int.from_bytes(call[operand : operand + 4], "little")
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return operand
            case _:
                pytest.fail(f"unknown instruction {operation:#x}")


def asked(machine: str, name: str, *arguments: int, confined: bool = True) -> int:
    """What a machine's filter says to a call by its name."""
    table = {**seccomp.DENIED, **seccomp.DENIED_WITHOUT_NAMESPACES, **seccomp.EXEC, **seccomp.RULED, **OTHERS}
    number = table[name][COLUMN[machine]]
    assert number is not None
    return verdict(filter_of(machine, confined), number, *arguments, audit=AUDIT[machine])


OTHERS: Mapping[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "openat": (257, 56),
    "mmap": (9, 222),
    "futex": (202, 98),
    "exit_group": (231, 94),
    "getdents64": (217, 61),
    "sched_getaffinity": (204, 123),
}


@MACHINES
@EVERYWHERE
def test_what_programs_live_on_is_allowed(machine: str, confined: bool) -> None:  # noqa: FBT001 - a parameter
    assert {asked(machine, name, confined=confined) for name in OTHERS} == {ALLOW}


@MACHINES
@EVERYWHERE
@given(arguments=st.lists(longs, max_size=6))
def test_no_argument_makes_a_denied_call_pass(machine: str, confined: bool, arguments: list[int]) -> None:  # noqa: FBT001
    table = seccomp.DENIED if confined else {**seccomp.DENIED, **seccomp.DENIED_WITHOUT_NAMESPACES, **seccomp.EXEC}
    present = [name for name, numbers in table.items() if numbers[COLUMN[machine]] is not None]
    assert {name for name in present if asked(machine, name, *arguments, confined=confined) != EPERM} == set()


@MACHINES
@EVERYWHERE
@given(number=words, audit=words, arguments=st.lists(longs, max_size=6))
def test_every_call_ends_in_a_verdict_and_a_foreign_one_kills(
    machine: str,
    confined: bool,  # noqa: FBT001 - a parameter
    number: int,
    audit: int,
    arguments: list[int],
) -> None:
    program = filter_of(machine, confined)
    assert verdict(program, number, *arguments, audit=AUDIT[machine]) in {ALLOW, KILL, EPERM, ENOSYS}
    if audit != AUDIT[machine]:
        assert verdict(program, number, *arguments, audit=audit) == KILL


@EVERYWHERE
@given(number=st.integers(0, 0x3FFFFFFF))
def test_every_call_of_the_x32_interface_kills(confined: bool, number: int) -> None:  # noqa: FBT001 - a parameter
    program = filter_of("x86_64", confined)
    assert verdict(program, number | 0x40000000, audit=AUDIT["x86_64"]) == KILL


@MACHINES
@pytest.mark.parametrize("number", [463, 467, 520, 0x3FFFFFFF])
def test_a_call_that_is_newer_than_the_table_does_not_exist(machine: str, number: int) -> None:
    program = seccomp.program(confined_by_namespaces=True, machine=machine)
    assert verdict(program, number, audit=AUDIT[machine]) == ENOSYS


@MACHINES
@EVERYWHERE
@given(flags=longs)
def test_a_clone_makes_a_thread_or_nothing(machine: str, confined: bool, flags: int) -> None:  # noqa: FBT001
    thread_with_shared_files, namespaces = 0x00010400, 0x7E020000
    allowed = flags & thread_with_shared_files == thread_with_shared_files and not flags & namespaces
    assert asked(machine, "clone", flags, confined=confined) == (ALLOW if allowed else EPERM)
    assert asked(machine, "clone", thread_with_shared_files, confined=confined) == ALLOW
    assert asked(machine, "clone3", flags, confined=confined) == ENOSYS


@MACHINES
@given(family=longs)
def test_sockets_stay_on_the_machine_and_without_namespaces_there_are_none(machine: str, family: int) -> None:
    assert asked(machine, "socket", family, 1) == (ALLOW if family % 2**32 == 1 else EPERM)
    assert asked(machine, "socket", family, 1, confined=False) == EPERM


@MACHINES
@EVERYWHERE
def test_a_pair_of_connected_sockets_is_all_that_an_event_loop_needs(machine: str, confined: bool) -> None:  # noqa: FBT001
    close_on_exec = 0o2000000
    assert asked(machine, "socketpair", 1, 1 | close_on_exec, confined=confined) == ALLOW
    assert asked(machine, "socketpair", 1, 2, confined=confined) == EPERM  # a datagram socket can be sent anywhere
    assert asked(machine, "socketpair", 2, 1, confined=confined) == EPERM


@MACHINES
@pytest.mark.parametrize("request_", [0x5412, 0x541C, 0x8901, 0x8902])
@given(high=st.integers(0, 2**32 - 1))
def test_a_terminal_is_not_typed_into_however_the_request_is_dressed(machine: str, request_: int, high: int) -> None:
    assert asked(machine, "ioctl", 0, high << 32 | request_) == EPERM
    assert asked(machine, "ioctl", 0, high << 32 | 0x5401) == ALLOW


@MACHINES
@pytest.mark.parametrize(
    "name", ["prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"]
)
@given(pid=longs)
def test_limits_and_priorities_are_set_for_oneself_only(machine: str, name: str, pid: int) -> None:
    assert asked(machine, name, pid) == (ALLOW if pid % 2**32 == 0 else EPERM)


@MACHINES
def test_priorities_by_kind_are_set_for_oneself_only(machine: str) -> None:
    assert asked(machine, "setpriority", 0, 0) == ALLOW
    assert asked(machine, "setpriority", 0, 77) == EPERM
    assert asked(machine, "setpriority", 2, 0) == EPERM
    assert asked(machine, "ioprio_set", 1, 0) == ALLOW
    assert asked(machine, "ioprio_set", 3, 0) == EPERM


@MACHINES
def test_no_file_sends_a_signal_for_the_guest(machine: str) -> None:
    assert {asked(machine, "fcntl", 0, command) for command in (8, 10, 15)} == {EPERM}
    assert asked(machine, "fcntl", 0, 1) == ALLOW


@MACHINES
def test_without_namespaces_the_guest_cannot_outlive_its_parent(machine: str) -> None:
    assert asked(machine, "prctl", 1, 0, confined=False) == EPERM
    assert asked(machine, "prctl", 38, 1, confined=False) == ALLOW


@MACHINES
def test_without_namespaces_no_folder_is_hidden_from_its_owner(machine: str) -> None:
    assert asked(machine, "mkdirat", 0, 0, 0o700, confined=False) == ALLOW
    assert asked(machine, "mkdirat", 0, 0, 0o300, confined=False) == EPERM
    assert asked(machine, "umask", 0o022, confined=False) == ALLOW
    assert asked(machine, "umask", 0o400, confined=False) == EPERM


@MACHINES
@EVERYWHERE
def test_open_files_are_shared_by_all_threads(machine: str, confined: bool) -> None:  # noqa: FBT001 - a parameter
    assert asked(machine, "close_range", 3, 9, 0, confined=confined) == ALLOW
    assert asked(machine, "close_range", 3, 9, 2, confined=confined) == EPERM


@MACHINES
def test_a_guest_that_runs_gives_up_exec_and_nothing_else(machine: str) -> None:
    program = seccomp.no_exec(machine=machine)
    for numbers in seccomp.EXEC.values():
        assert verdict(program, numbers[COLUMN[machine]] or -1, audit=AUDIT[machine]) == EPERM
    assert verdict(program, OTHERS["openat"][COLUMN[machine]], audit=AUDIT[machine]) == ALLOW
    assert verdict(program, 1, audit=1) == KILL


@MACHINES
def test_the_filter_fits_the_kernels_bound(machine: str) -> None:
    assert len(seccomp.program(confined_by_namespaces=False, machine=machine)) // 8 <= 4096


@MACHINES
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"no kernel headers at {header}")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text(encoding="utf-8"))
    official = {name: int(number) for name, number in found}
    ours = {**seccomp.DENIED, **seccomp.DENIED_WITHOUT_NAMESPACES, **seccomp.EXEC, **seccomp.RULED}
    newer_than_the_header = {"fchmodat2", "statmount", "listmount"}
    for name, numbers in ours.items():
        if name not in newer_than_the_header or name in official:
            assert (name, numbers[COLUMN[machine]]) == (name, official.get(name))


LIVE = """
import asyncio, errno, os, runpy, socket, subprocess, sys, threading
seccomp = runpy.run_path(sys.argv[1])
seccomp["install"](seccomp["program"](confined_by_namespaces=sys.argv[2] == "namespaces"))

def refused(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

ran = []
thread = threading.Thread(target=lambda: ran.append("thread"))
thread.start()
thread.join()
asyncio.run(asyncio.sleep(0))
print(ran, refused(os.fork), refused(socket.socket, socket.AF_INET), refused(socket.socket, socket.AF_UNIX))
print(refused(os.chmod, "/proc/self/none", 0), refused(subprocess.run, ["/none"]), refused(os.kill, os.getpid(), 0))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not seccomp.supported(platform.machine()), reason="no seccomp tables for this host"
)
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("namespaces", "['thread'] EPERM EPERM None\nENOENT EPERM None"),
        ("none", "['thread'] EPERM EPERM EPERM\nEPERM EPERM EPERM"),
    ],
)
def test_a_live_process_keeps_its_threads_and_event_loop_and_loses_the_rest(mode: str, expected: str) -> None:
    command = [sys.executable, "-I", "-c", LIVE, str(seccomp.__file__), mode]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == (expected, "")
