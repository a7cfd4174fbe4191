"""Seccomp filters: which system calls a guest may make, as the kernel's own little programs (classic BPF).

    a foreign architecture, x32     the process is killed
    calls newer than this table     ENOSYS, as an older kernel would answer: what is not known is not allowed
    `clone3`                        ENOSYS: libraries then use `clone`, whose flags a filter can read
    the tables below                EPERM
    everything else                 allowed

`program` is what every Linux backend installs before the guest starts; `no_exec` is a second, smaller one, for a guest that
had to be started by `execve` and gives that right up once it runs. Filters only ever add up.

Kernel documentation: userspace-api/seccomp_filter; `struct sock_filter` and `struct seccomp_data` in its headers. Numbers are
those of `asm/unistd_64.h` (x86_64) and `asm-generic/unistd.h` (aarch64). Standard library only, and quick to import, because
the launcher program beside it uses it too.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from itertools import chain
from struct import pack
from typing import NamedTuple

_KILL = 0x8000_0000
_ERRNO = 0x0005_0000
_ALLOW = 0x7FFF_0000

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x4000_0000
_NEWEST_KNOWN = 462  # mseal, Linux 6.10; numbers from 424 on are the same on every architecture

# Linux's own values, whatever system this module is imported on
_EPERM, _ENOSYS = 1, 38
_AF_UNIX, _SOCK_STREAM = 1, 1
_CLONE_THREAD, _CLONE_FILES, _CLONE_NEW_NAMESPACES = 0x0001_0000, 0x0000_0400, 0x7E02_0000
_CLOSE_RANGE_UNSHARE = 2
_OWNERS_RIGHTS = 0o700
_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_PR_SET_PDEATHSIG = 1
_SOCKET_TYPES = 0xF

Numbers = Mapping[str, tuple[int | None, int | None]]
"""A call's number on x86_64 and on aarch64; ``None`` where the architecture does not have it."""

DENIED: Numbers = {
    # new processes
    "fork": (57, None),
    "vfork": (58, None),
    # the memory and the files of other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # what the file system is made of
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "lookup_dcookie": (212, 18),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # large and often broken parts of the kernel
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    # memory that RLIMIT_AS does not count
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    # the machine itself
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    "personality": (135, 92),
}
"""Denied to every guest."""

DENIED_WITHOUT_NAMESPACES: Numbers = {
    # Landlock rules over the opening of files; what is below reaches files, processes and servers of the host without that
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "truncate": (76, 45),
    "inotify_add_watch": (254, 27),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # signals, its own included: a filter cannot tell them apart; timers and faults still raise theirs
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # a guest that leaves its group or session would outlive it
    "setsid": (112, 157),
    "setpgid": (109, 154),
}
"""Denied as well where no namespaces keep the host's files, processes and sockets out of sight."""

EXEC: Numbers = {"execve": (59, 221), "execveat": (322, 281)}
"""Denied to a guest that runs."""

RULED: Numbers = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "close_range": (436, 436),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "umask": (95, 166),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
"""Allowed or denied by their arguments."""


class Instruction(NamedTuple):
    """One ``struct sock_filter``; jumps are relative to the next instruction."""

    code: int
    if_true: int
    if_false: int
    operand: int


class Equal(NamedTuple):
    """That the low 32 bits of an argument, masked, have a value: all that the kernel reads of the arguments below."""

    argument: int
    value: int
    mask: int = 0xFFFF_FFFF


class _Architecture(NamedTuple):
    audit: int
    column: int


Code = tuple[Instruction, ...]

_ARCHITECTURES = {"x86_64": _Architecture(0xC000_003E, 0), "aarch64": _Architecture(0xC000_00B7, 1)}

# a thread with open files of its own would not share RLIMIT_NOFILE
_THREADS_ONLY = Equal(0, _CLONE_THREAD | _CLONE_FILES, mask=_CLONE_THREAD | _CLONE_FILES | _CLONE_NEW_NAMESPACES)
_FILES_SHARED = Equal(2, 0, mask=_CLOSE_RANGE_UNSHARE)
_SELF = Equal(0, 0)
_UNIX = Equal(0, _AF_UNIX)
_STREAM = Equal(1, _SOCK_STREAM, mask=_SOCKET_TYPES)


def supported(machine: str | None = None) -> bool:
    """Whether there are tables for a machine, by the name that ``uname -m`` gives it (default: this one)."""
    return (machine or platform.machine()) in _ARCHITECTURES


def program(*, confined_by_namespaces: bool, machine: str | None = None) -> bytes:
    """The filter that is in force before the guest's first instruction, as an array of ``struct sock_filter``.

    With namespaces around it (bubblewrap, a container) the guest may `execve`, because that is how it is started, and
    open AF_UNIX sockets. Without them (Landlock) it may do neither, nor change files' modes, nor send signals.

    Raises:
        KeyError: there are no tables for the machine; ask `supported` first.

    """
    architecture = _ARCHITECTURES[machine or platform.machine()]
    denied = DENIED if confined_by_namespaces else {**DENIED, **DENIED_WITHOUT_NAMESPACES, **EXEC}
    return _assembled(
        _entry(architecture),
        _rules(architecture, confined_by_namespaces=confined_by_namespaces),
        _denials(denied, architecture),
        (_return(_ALLOW),),
    )


def no_exec(*, machine: str | None = None) -> bytes:
    """The filter with which a guest that runs gives up `execve`."""
    architecture = _ARCHITECTURES[machine or platform.machine()]
    return _assembled(_entry(architecture), _denials(EXEC, architecture), (_return(_ALLOW),))


def install(filter_: bytes) -> None:
    """Put this thread, and all threads and programs it starts from now on, under a filter. It cannot be undone.

    Raises:
        OSError: the kernel refuses it.

    """
    import ctypes  # noqa: PLC0415 - the programs that only build filters do not need it

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    loaded = Program(len(filter_) // 8, filter_)
    if libc.prctl(set_no_new_privileges, 1, 0, 0, 0) or libc.prctl(
        set_seccomp, filter_mode, ctypes.byref(loaded), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refuses the seccomp filter")


def _entry(architecture: _Architecture) -> Code:
    """Refuse what the numbers below do not speak of; what follows finds the call's number loaded."""
    return (
        _load(_ARCHITECTURE_AT),
        *_unless(_EQUAL, architecture.audit, _return(_KILL)),
        _load(_NUMBER_AT),
        *_if(_AT_LEAST, _X32_BIT, _return(_KILL)),
        *_if(_AT_LEAST, _NEWEST_KNOWN + 1, _errno(_ENOSYS)),
    )


def _rules(architecture: _Architecture, *, confined_by_namespaces: bool) -> Code:
    rules = {**_RULES, **(_RULES_WITH_NAMESPACES if confined_by_namespaces else _RULES_WITHOUT_NAMESPACES)}
    numbered = ((RULED[name][architecture.column], rule) for name, rule in rules.items())
    return tuple(chain.from_iterable(_if(_EQUAL, number, *rule) for number, rule in numbered if number is not None))


def _denials(denied: Numbers, architecture: _Architecture) -> Code:
    numbers = (columns[architecture.column] for columns in denied.values())
    return tuple(chain.from_iterable(_if(_EQUAL, number, _errno(_EPERM)) for number in numbers if number is not None))


def _only(*conditions: Equal) -> Code:
    """Allow a call whose arguments meet all conditions."""
    return (*chain.from_iterable(_required(condition) for condition in conditions), _return(_ALLOW))


def _never(argument: int, *values: int) -> Code:
    """Deny a call whose argument has one of the values."""
    denials = chain.from_iterable(_if(_EQUAL, value, _errno(_EPERM)) for value in values)
    return (_load(_ARGUMENTS_AT + 8 * argument), *denials, _return(_ALLOW))


def _required(condition: Equal) -> Iterator[Instruction]:
    yield _load(_ARGUMENTS_AT + 8 * condition.argument)  # the low half: both architectures are little-endian
    yield Instruction(_AND, 0, 0, condition.mask)
    yield from _unless(_EQUAL, condition.value, _errno(_EPERM))


def _if(test: int, operand: int, *body: Instruction) -> Code:
    return (Instruction(test, 0, len(body), operand), *body)


def _unless(test: int, operand: int, *body: Instruction) -> Code:
    return (Instruction(test, len(body), 0, operand), *body)


def _load(offset: int) -> Instruction:
    return Instruction(_LOAD, 0, 0, offset)


def _errno(number: int) -> Instruction:
    return _return(_ERRNO | number)


def _return(action: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, action)


def _assembled(*parts: Code) -> bytes:
    return b"".join(pack("=HBBI", *instruction) for part in parts for instruction in part)


_RULES: Mapping[str, Code] = {
    "clone": _only(_THREADS_ONLY),
    "clone3": (_errno(_ENOSYS),),
    "close_range": _only(_FILES_SHARED),
    "socketpair": _only(_UNIX, _STREAM),
    "ioctl": _never(1, _TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP),
    "fcntl": _never(1, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX),
    "prlimit64": _only(_SELF),
    "sched_setaffinity": _only(_SELF),
    "sched_setscheduler": _only(_SELF),
    "sched_setparam": _only(_SELF),
    "sched_setattr": _only(_SELF),
    "setpriority": _only(_SELF, Equal(1, 0)),
    "ioprio_set": _only(Equal(0, 1), Equal(1, 0)),
}
_RULES_WITH_NAMESPACES: Mapping[str, Code] = {"socket": _only(_UNIX)}
_RULES_WITHOUT_NAMESPACES: Mapping[str, Code] = {
    # a guest that hears no more of its parent's death would outlive it
    "prctl": _never(0, _PR_SET_PDEATHSIG),
    # a folder that its owner cannot read would hide what is in it from who counts
    "mkdir": _only(Equal(1, _OWNERS_RIGHTS, mask=_OWNERS_RIGHTS)),
    "mkdirat": _only(Equal(2, _OWNERS_RIGHTS, mask=_OWNERS_RIGHTS)),
    "umask": _only(Equal(0, 0, mask=_OWNERS_RIGHTS)),
}
