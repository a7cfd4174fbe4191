"""Attacks on every backend that works on this host: the code runs inside the walls, and the host looks whether it got out.

Each attack comes with its harmless twin, which takes the same way to something that is allowed: a guest that cannot do
that either has proved nothing. What is attacked belongs to the test (files, listeners, a process), and its permissions let
everybody in, so that nothing but the sandbox keeps the guest out.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import anyio
import pytest

from tools.sandbox import seccomp
from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.guests import Guest
from tools.sandbox.landlock import Landlock
from tools.sandbox.probing import probed
from tools.sandbox.types import Backend, Limits, Outcome

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform != "linux" or not seccomp.supported(platform.machine()), reason="these backends are for Linux"
    ),
]

NOBODY = 65534
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), 0)
TABLE = {**seccomp.DENIED, **seccomp.DENIED_WITHOUT_NAMESPACES, **seccomp.EXEC, **seccomp.RULED}
NUMBERS = {name: numbers[COLUMN] for name, numbers in TABLE.items() if numbers[COLUMN] is not None}

PRELUDE = """
import ctypes, errno, json, mmap, os, pathlib, resource, signal, socket, stat, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)

def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def call(name, *arguments):
    number = NUMBERS[name] if isinstance(name, str) else name
    words = [argument if isinstance(argument, bytes) else ctypes.c_long(argument) for argument in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *words))

def own(name="own.txt", text="own"):
    pathlib.Path(name).write_text(text)
    return name

def channel():
    for fd in range(10, 64):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            yield fd

def forge(frame):
    for fd in channel():
        try:
            os.write(fd, frame)
        except OSError:
            pass

def framed(**parts):
    body = json.dumps(parts).encode()
    return len(body).to_bytes(4, "big") + body

if "HOME_FOLDER" not in globals():
    HOME_FOLDER = os.getcwd()
os.chdir(HOME_FOLDER)
os.mkdir(str(len(os.listdir("."))))
os.chdir(str(len(os.listdir(".")) - 1))

def tell(deed):
    try:
        told = ["done", str(deed())[:2000]]
    except BaseException as error:
        told = ["refused", f"{type(error).__name__}: {error}"]
    print(json.dumps(told))
"""


class Told(NamedTuple):
    """What a deed in the guest came to, by the guest's own account."""

    word: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The guest's account of its deeds, and the host's of the last one."""

    told: dict[str, Told]
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a guest must not reach, and what the host sees of it."""

    folder: Path
    secret: str
    digests: dict[Path, str]
    listeners: tuple[socket.socket, ...]
    sentinel: subprocess.Popen[bytes]

    def names(self) -> dict[str, object]:
        """The constants of the attack code, which knows all addresses: nothing here is safe by being secret."""
        tcp, udp, _, _ = self.listeners
        return {
            "CANARY": str(self.folder / "canary.txt"),
            "KEY": str(self.folder / ".ssh" / "id_ed25519"),
            "DATABASE": str(self.folder / "pointsman.db"),
            "OUTSIDE": str(self.folder / "outside"),
            "FOLDER": str(self.folder),
            "PORT": tcp.getsockname()[1],
            "UDP_PORT": udp.getsockname()[1],
            "SOCKET": str(self.folder / "socket"),
            "ABSTRACT": f"\0{self.secret}",
            "SERVER": os.getpid(),
            "SENTINEL": self.sentinel.pid,
            "PACKAGES": sysconfig.get_path("purelib"),
            "NUMBERS": NUMBERS,
        }

    def assert_untouched(self, outcome: Outcome) -> None:
        """Nothing has got out: no secret, no connection, no file, no signal."""
        assert self.secret not in f"{outcome.stdout}{outcome.stderr}{outcome.value}{outcome.notices}"
        assert {path: digest(path) for path in self.digests} == self.digests
        assert {path for path in self.folder.rglob("*") if path.is_file()} == set(self.digests)
        assert not list(self.folder.glob("outside*"))
        assert [listener for listener in self.listeners if was_reached(listener)] == []
        assert self.sentinel.poll() is None


def digest(path: Path) -> str:
    found = path.stat()
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{content} {found.st_mode:o} {found.st_uid} {found.st_mtime_ns} {found.st_nlink} {os.listxattr(path)}"


def was_reached(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_STREAM:
            listener.accept()[0].close()
        else:
            listener.recv(1)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, sentinel: subprocess.Popen[bytes]) -> Generator[Host]:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("POINTSMAN_CANARY_KEY", secret)
    with tempfile.TemporaryDirectory(prefix="attacked-") as name, listening(Path(name), secret) as listeners:
        folder = Path(name)
        folder.chmod(0o777)
        files = set(baits(folder, secret))
        digests = {path: digest(path) for path in files}
        yield Host(folder=folder, secret=secret, digests=digests, listeners=listeners, sentinel=sentinel)


def baits(folder: Path, secret: str) -> Iterator[Path]:
    """Files that everybody may read and write, and that belong to the user that the guest is."""
    folder.joinpath(".ssh").mkdir()
    folder.joinpath(".ssh").chmod(0o777)
    with sqlite3.connect(folder / "pointsman.db") as database:
        database.execute("CREATE TABLE secrets (value)")
        database.execute("INSERT INTO secrets VALUES (?)", (secret,))
    database.close()
    folder.joinpath("canary.txt").write_text(secret, encoding="ascii")
    folder.joinpath(".ssh", "id_ed25519").write_text(secret, encoding="ascii")
    for file in ("canary.txt", ".ssh/id_ed25519", "pointsman.db"):
        folder.joinpath(file).chmod(0o666)
        if os.geteuid() == 0:
            os.chown(folder / file, NOBODY, NOBODY)
        yield folder / file


@contextmanager
def listening(folder: Path, secret: str) -> Generator[tuple[socket.socket, ...]]:
    addresses: list[tuple[int, int, str | tuple[str, int]]] = [
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{secret}"),
        (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "socket")),
    ]
    listeners = tuple(socket.socket(family, kind) for family, kind, _ in addresses)
    try:
        for listener, (_, kind, address) in zip(listeners, addresses, strict=True):
            listener.bind(address)
            listener.settimeout(0)
            if kind == socket.SOCK_STREAM:
                listener.listen()
        folder.joinpath("socket").chmod(0o777)
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@pytest.fixture(scope="module")
def sentinel() -> Generator[subprocess.Popen[bytes]]:
    """A process of the user that the guest is on the host."""
    nobody = NOBODY if os.geteuid() == 0 else None
    with subprocess.Popen(
        ("/bin/cat",), stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=nobody, group=nobody
    ) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        cat.stdin.write(b"!")
        cat.stdin.flush()
        cat.stdout.read(1)
        yield cat
        cat.stdin.close()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, in which a guest lives from test to test."""
    return "asyncio"


@pytest.fixture(scope="module", params=[Bubblewrap(), Landlock()], ids=lambda backend: backend.name)
async def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    verdict = await probed(chosen, Limits(), dict(os.environ))
    if chosen.missing() or (verdict.problem and "does not start here" in verdict.problem):
        pytest.skip(f"{chosen.name}: {verdict.problem}")
    assert verdict.usable, verdict.problem
    return chosen


@pytest.fixture(scope="module")
async def guest(backend: Backend) -> AsyncGenerator[Guest]:
    """A guest for the attacks that are refused, and therefore do it no harm."""
    async with guest_in(backend) as lasting:
        yield lasting


@asynccontextmanager
async def guest_in(backend: Backend, limits: Limits | None = None) -> AsyncGenerator[Guest]:
    guest = await Guest.begin(backend, limits or Limits())
    try:
        yield guest
    finally:
        await guest.end()


async def attacked(
    backend: Backend, host: Host, *, limits: Limits | None = None, seconds: float = 20.0, **deeds: str
) -> Report:
    """Do the deeds in a guest of their own, until one has ended it."""
    async with guest_in(backend, limits) as guest:
        report = await done_in(guest, host, seconds=seconds, **deeds)
    host.assert_untouched(report.outcome)
    return report


async def done_in(guest: Guest, host: Host, *, seconds: float = 20.0, **deeds: str) -> Report:
    """Do the deeds, each the body of a function, in a folder that is new; and see that the host is as it was."""
    constants = "".join(f"{name} = {value!r}\n" for name, value in host.names().items())
    outcome = await guest.run(f"{constants}{PRELUDE}", timeout_seconds=seconds)
    told: dict[str, Told] = {}
    for name, body in deeds.items():
        if not guest.is_ended:
            outcome = await guest.run(f"def deed():\n{indent(body, '    ')}\ntell(deed)", timeout_seconds=seconds)
            host.assert_untouched(outcome)
        for line in outcome.stdout.splitlines():
            if line.startswith('["'):
                told[name] = Told(*json.loads(line))
    return Report(told=told, outcome=outcome)


async def assert_refused(guest: Guest, host: Host, *, harmless: str, attack: str) -> None:
    report = await done_in(guest, host, harmless=harmless, attack=attack, after=OWN_FILE)
    words = {name: told.word for name, told in report.told.items()}
    assert words == {"harmless": "done", "attack": "refused", "after": "done"}, report.told


OWN_FILE = "return open(own()).read()"

READS = {
    "a file by its path": (OWN_FILE, "return open(CANARY).read()"),
    "a private key": (OWN_FILE, "return open(KEY).read()"),
    "the database": (
        "import sqlite3\nreturn sqlite3.connect('own.db').execute('SELECT 1').fetchall()",
        """
import sqlite3
with sqlite3.connect(f"file:{DATABASE}?immutable=1", uri=True) as database:
    return database.execute("SELECT * FROM secrets").fetchall()""",
    ),
    "a folder's names": ("own()\nreturn os.listdir('.')", "return os.listdir(FOLDER)"),
    "the users": (OWN_FILE, "return open('/etc/passwd').read()"),
    "the passwords": (OWN_FILE, "return open('/etc/shadow').read()"),
    "the homes": ("return os.listdir('.')", "return os.listdir('/home')"),
    "a symbolic link": (
        "os.symlink(own(), 'good')\nreturn open('good').read()",
        "os.symlink(CANARY, 'bad')\nreturn open('bad').read()",
    ),
    "a link to a folder": (
        "os.mkdir('inner')\nos.symlink('inner', 'door')\nreturn os.listdir('door')",
        "os.symlink('/', 'gate')\nreturn open('gate' + CANARY).read()",
    ),
    "a hard link": (
        "os.rename(own(), 'moved')\nreturn open('moved').read()",
        "os.link(CANARY, 'hard')\nreturn open('hard').read()",
    ),
    "a move into its own folder": (
        "os.rename(own(), 'moved')\nreturn open('moved').read()",
        "os.rename(CANARY, 'mine')\nreturn open('mine').read()",
    ),
    "the way up from its own folder": (
        "return os.open(own(), os.O_RDONLY, dir_fd=os.open('.', os.O_PATH))",
        "return os.read(os.open('../' * 40 + CANARY[1:], os.O_RDONLY, dir_fd=os.open('.', os.O_PATH)), 99)",
    ),
    "what it has inherited": (
        "return os.read(os.open(own(), os.O_RDONLY), 9)",
        """
for fd in range(3, 256):
    for path in (CANARY[1:], "../" * 40 + CANARY[1:]):
        try:
            return os.read(os.open(path, os.O_RDONLY, dir_fd=fd), 99)
        except OSError:
            continue
raise PermissionError("none leads there")""",
    ),
    "the server's root": (OWN_FILE, "return open(f'/proc/{SERVER}/root{CANARY}').read()"),
    "the server's working folder": ("return os.listdir('.')", "return os.listdir(f'/proc/{SERVER}/cwd')"),
    "the server's environment": (OWN_FILE, "return open(f'/proc/{SERVER}/environ').read()"),
    "the server's memory": (OWN_FILE, "return open(f'/proc/{SERVER}/mem', 'rb').read(1)"),
    "the server's open files": ("return os.listdir('.')", "return os.listdir(f'/proc/{SERVER}/fd')"),
    "a neighbour's memory": (OWN_FILE, "return open(f'/proc/{SENTINEL}/mem', 'rb').read(1)"),
    "a neighbour's maps": (OWN_FILE, "return open(f'/proc/{SENTINEL}/maps').read()"),
    "the kernel's symbols and log": (OWN_FILE, "return open('/dev/kmsg', 'rb').read(9)"),
    "the machine's memory": ("return open('/dev/zero', 'rb').read(1)", "return open('/dev/mem', 'rb').read(1)"),
    "the terminal": ("return open('/dev/null', 'rb').read(1)", "return open('/dev/tty', 'rb').read(1)"),
    "the virtual machine monitor": (
        "return open('/dev/urandom', 'rb').read(1)",
        "return os.open('/dev/kvm', os.O_RDWR)",
    ),
}


@pytest.mark.parametrize("way", READS)
async def test_nothing_of_the_host_is_read(guest: Guest, host: Host, way: str) -> None:
    harmless, attack = READS[way]
    await assert_refused(guest, host, harmless=harmless, attack=attack)


async def test_the_environment_holds_nothing_of_the_servers(backend: Backend, host: Host) -> None:
    attack = """
libc.getenv.restype = ctypes.c_char_p
seen = [dict(os.environ), libc.getenv(b"POINTSMAN_CANARY_KEY")]
for path in ("/proc/self/environ", "/proc/1/environ", f"/proc/{os.getppid()}/environ"):
    try:
        seen.append(open(path, "rb").read())
    except OSError as error:
        seen.append(error)
return seen"""
    report = await attacked(backend, host, attack=attack)  # the host looks for the secret in it
    assert "TMPDIR" in report.told["attack"].detail
    assert "POINTSMAN" not in report.told["attack"].detail


OWN_FILE_WRITTEN = "return open('own.txt', 'w').write('own')"
WRITES = {
    "a new file": (OWN_FILE_WRITTEN, "return open(OUTSIDE, 'w').write('out')"),
    "a file that is there": ("open(own(), 'a').write('more')", "return open(CANARY, 'a').write('more')"),
    "a shorter file": ("os.ftruncate(os.open(own(), os.O_RDWR), 0)", "os.truncate(CANARY, 0)"),
    "a removed file": ("os.unlink(own())", "os.unlink(CANARY)"),
    "a new folder": ("os.mkdir('inner')", "os.mkdir(OUTSIDE)"),
    "a link that leads out": (
        "os.symlink('own.txt', 'good')\nreturn open('good', 'w').write('own')",
        "os.symlink(OUTSIDE, 'bad')\nreturn open('bad', 'w').write('out')",
    ),
    "a link outside": ("os.symlink('own.txt', 'good')", "os.symlink('/', OUTSIDE)"),
    "a file moved out": ("os.rename(own(), 'moved')", "os.rename(own(), OUTSIDE)"),
    "a file linked out": ("return own()", "os.link(own(), OUTSIDE)"),
    "a file's mode": ("return os.stat(own())", "os.chmod(CANARY, 0o4777)"),
    "a file's owner": ("return os.stat(own())", "os.chown(CANARY, os.getuid(), -1)"),
    "a file's times": ("return os.stat(own())", "os.utime(CANARY, (0, 0))"),
    "a file's attributes": ("return os.stat(own())", "os.setxattr(CANARY, 'user.mark', b'1')"),
    "a device of its own": (OWN_FILE_WRITTEN, "os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))"),
    "the standard library": (OWN_FILE_WRITTEN, "return open(os.path.join(os.path.dirname(os.__file__), 'os.py'), 'a')"),
    "the installed packages": (OWN_FILE_WRITTEN, "return open(PACKAGES + '/planted.py', 'w')"),
    "the devices' folder": (OWN_FILE_WRITTEN, "return open('/dev/planted', 'w')"),
    "shared memory": (OWN_FILE_WRITTEN, "return open('/dev/shm/planted', 'w')"),
    "the root folder": (OWN_FILE_WRITTEN, "return open('/planted', 'w')"),
    "temporary files of others": (OWN_FILE_WRITTEN, "return open('/var/tmp/planted', 'w')"),
    "its own memory through /proc": (OWN_FILE_WRITTEN, "return open('/proc/1/mem', 'r+b')"),
    "the kernel's settings": (OWN_FILE_WRITTEN, "return open('/proc/sys/kernel/hostname', 'w').write('mine')"),
}


@pytest.mark.parametrize("way", WRITES)
async def test_nothing_of_the_host_is_written(guest: Guest, host: Host, way: str) -> None:
    harmless, attack = WRITES[way]
    await assert_refused(guest, host, harmless=harmless, attack=attack)


PAIR = "left, right = socket.socketpair()\nleft.send(b'x')\nreturn right.recv(1)"
CONNECTIONS = {
    "loopback": "return socket.create_connection(('127.0.0.1', PORT), timeout=2)",
    "loopback in IPv6's clothes": "return socket.create_connection(('::ffff:127.0.0.1', PORT), timeout=2)",
    "a datagram": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP_PORT))",
    "the cloud's metadata": "return socket.create_connection(('169.254.169.254', 80), timeout=1)",
    "a listener of its own": """
listener = socket.create_server(("0.0.0.0", 0))
return listener.getsockname() if FOLDER in os.listdir("/") else 1 / 0""",
    "an abstract socket": "socket.socket(socket.AF_UNIX).connect(ABSTRACT)",
    "a socket in a folder": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', SOCKET)",
    "one end of a pair, redirected": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', SOCKET)",
    "a connected pair, redirected": "socket.socketpair()[0].connect(ABSTRACT)",
    "a raw socket": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a packet socket": "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "the hypervisor": "return socket.socket(40, socket.SOCK_STREAM)",
    "the kernel's cryptography": "return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "a name": "return socket.getaddrinfo('example.com', 80)",
}


@pytest.mark.parametrize("way", CONNECTIONS)
async def test_nobody_is_connected_to(guest: Guest, host: Host, way: str) -> None:
    await assert_refused(guest, host, harmless=PAIR, attack=CONNECTIONS[way])


A_THREAD = (
    "ran = []\nthread = threading.Thread(target=ran.append, args=(1,))\nthread.start()\nthread.join()\nreturn ran[0]"
)
STARTS = {
    "fork": "return os.fork()",
    "a fork bomb": "while True:\n    os.fork()",
    "forkpty": "return os.forkpty()",
    "clone": f"return call('clone', {17}, 0, 0, 0, 0)",
    "clone with the parent's memory": f"return call('clone', {0x4111}, 0, 0, 0, 0)",
    "clone into new namespaces": f"return call('clone', {0x10020011}, 0, 0, 0, 0)",
    "clone3": "return call('clone3', bytes(88), 88)",
    "posix_spawn": "return os.posix_spawn(sys.executable, ['python', '-c', ''], {})",
    "subprocess": "return subprocess.run(['/bin/true'])",
    "a shell": "return os.popen('id').read() or 1 / 0",
    "multiprocessing": "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()",
    "exec of the interpreter": "os.execv(sys.executable, ['python', '-c', 'print(1)'])",
    "exec of a program of the system": "os.execv('/usr/bin/env', ['env'])",
    "exec of a file of its own": """
fd = os.open("own.sh", os.O_CREAT | os.O_WRONLY, 0o755)
os.write(fd, b"#!/bin/sh")
os.close(fd)
os.execv("own.sh", ["own.sh"])""",
    "exec of a file in memory": "fd = os.memfd_create('program')\nos.write(fd, b'#!/bin/sh')\nos.execve(fd, ['sh'], {})",
    "exec by a bare call": "return call('execve', b'/usr/bin/env', 0, 0)",
}


@pytest.mark.parametrize("way", STARTS)
async def test_no_process_is_started(guest: Guest, host: Host, way: str) -> None:
    await assert_refused(guest, host, harmless=A_THREAD, attack=STARTS[way])


AGAINST_OTHERS = {
    "a signal": "os.kill(SENTINEL, signal.SIGTERM)",
    "a signal to a group": "os.killpg(SENTINEL, signal.SIGTERM)",
    "a signal to a thread": "call('tgkill', SENTINEL, SENTINEL, 15)",
    "a queued signal": "call('rt_sigqueueinfo', SENTINEL, 15, bytes(128))",
    "a signal through a descriptor": "call('pidfd_send_signal', call('pidfd_open', SENTINEL, 0), 15, 0, 0)",
    "a signal from a pipe": """
import fcntl
reading, writing = os.pipe()
fcntl.fcntl(reading, fcntl.F_SETOWN, SENTINEL)
fcntl.fcntl(reading, 10, signal.SIGTERM)
fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_ASYNC)
os.write(writing, b"x")""",
    "a signal to the server": "os.kill(SERVER, 0)",
    "attaching to it": "checked(libc.ptrace(16, SENTINEL, 0, 0))",
    "seizing it": "checked(libc.ptrace(0x4206, SENTINEL, 0, 0))",
    "reading its memory": "call('process_vm_readv', SENTINEL, bytes(16), 1, bytes(16), 1, 0)",
    "taking its files": "call('pidfd_getfd', call('pidfd_open', SENTINEL, 0), 0, 0)",
    "comparing with it": "call('kcmp', os.getpid(), SENTINEL, 1, 0, 0)",
    "its limits": "resource.prlimit(SENTINEL, resource.RLIMIT_NOFILE, (0, 0))",
    "reading its limits": "return resource.prlimit(SENTINEL, resource.RLIMIT_NOFILE)",
    "its processors": "os.sched_setaffinity(SENTINEL, {0})",
    "its scheduling": "os.sched_setscheduler(SENTINEL, os.SCHED_IDLE, os.sched_param(0))",
    "its priority": "os.setpriority(os.PRIO_PROCESS, SENTINEL, 19)",
    "everybody's priority": "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "its disk priority": "call('ioprio_set', 1, SENTINEL, 3 << 13)",
    "moving its memory": "call('move_pages', SENTINEL, 0, 0, 0, 0, 0)",
}


@pytest.mark.parametrize("way", AGAINST_OTHERS)
async def test_no_other_process_is_touched(guest: Guest, host: Host, way: str) -> None:
    before = condition_of(host.sentinel.pid)
    harmless = "os.setpriority(os.PRIO_PROCESS, 0, 19)\nreturn resource.getrlimit(resource.RLIMIT_NOFILE)"
    await assert_refused(guest, host, harmless=harmless, attack=AGAINST_OTHERS[way])
    assert condition_of(host.sentinel.pid) == before


def condition_of(pid: int) -> tuple[object, ...]:
    """What others could change about a process."""
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    return os.sched_getaffinity(pid), os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid), limits


OF_THE_KERNEL = {
    "a user namespace": "checked(libc.unshare(0x10000000))",
    "a mount namespace": "checked(libc.unshare(0x00020000))",
    "files of its own": "checked(libc.unshare(0x00000400))",
    "files of its own by another call": "call('close_range', 250, 251, 2)",
    "the server's namespaces": "checked(libc.setns(os.open(f'/proc/{SERVER}/ns/net', os.O_RDONLY), 0))",
    "a mount": "checked(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "a writable root": "checked(libc.mount(None, b'/', None, 0x20 | 0x1000, None))",
    "an unmount": "checked(libc.umount2(b'/tmp', 2))",
    "a mount by the new calls": "call('fsopen', b'tmpfs', 0)",
    "another root": "os.chroot('.')",
    "root's user": "os.setuid(0)",
    "root's user by all its names": "os.setresuid(0, 0, 0)",
    "root's group": "os.setgid(0)",
    "root's groups": "os.setgroups([0])",
    "a higher limit": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    "no limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16))",
    "typing into the terminal": "import fcntl\nfcntl.ioctl(2, 0x5412, b'x')",
    "typing into the terminal, dressed up": "checked(libc.ioctl(2, ctypes.c_ulong(0xFFFFFFFF00005412), b'x'))",
    "another personality": "call('personality', 0x0400000)",
    "asynchronous calls": "call('io_uring_setup', 1, bytes(120))",
    "page faults of its own": "call('userfaultfd', 1)",
    "programs in the kernel": "call('bpf', 0, bytes(120), 120)",
    "counters": "call('perf_event_open', bytes(120), 0, -1, -1, 0)",
    "keys": "call('keyctl', 0, -3, 0)",
    "shared memory that no limit counts": "call('shmget', 0, 1 << 20, 0o1600)",
    "files in memory that no limit counts": "os.memfd_create('x')",
    "a file by its handle": "call('open_by_handle_at', -100, bytes(64), 0)",
    "a call that is newer than the filter": "call(463, -100, b'.', 0, b'user.x', b'', 0)",
}


@pytest.mark.parametrize("way", OF_THE_KERNEL)
async def test_the_kernel_grants_nothing_more(guest: Guest, host: Host, way: str) -> None:
    await assert_refused(guest, host, harmless="return libc.getpid()", attack=OF_THE_KERNEL[way])


async def test_every_call_of_the_deny_list_is_denied_and_not_just_failing(backend: Backend, host: Host) -> None:
    """With arguments that are all wrong the kernel itself would say EINVAL, EFAULT or EBADF to most of them."""
    denied = {**seccomp.DENIED, **seccomp.EXEC}
    if backend.name == "landlock":
        denied |= seccomp.DENIED_WITHOUT_NAMESPACES
    names = sorted(name for name in denied if name in NUMBERS)
    attack = f"""
found = {{}}
for name in {names!r}:
    try:
        call(name, -1, -1, -1, -1, -1, -1)
        found[name] = "done"
    except OSError as error:
        if error.errno != errno.EPERM:
            found[name] = errno.errorcode[error.errno]
return found"""
    report = await attacked(backend, host, attack=attack)
    assert report.told["attack"] == Told("done", "{}")


FATAL = {
    "the x32 interface": "call(0x40000000 + 39)",
    "the 32-bit interface": """
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))
return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()""",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other interfaces to the kernel are x86's")
@pytest.mark.parametrize("way", FATAL)
async def test_a_foreign_interface_to_the_kernel_kills(backend: Backend, host: Host, way: str) -> None:
    harmless = FATAL[way].replace("b814000000cd80c3", "b814000000c3").replace("0x40000000 + 39", "39")
    report = await attacked(backend, host, harmless=harmless, attack=FATAL[way])
    assert list(report.told) == ["harmless"], report.told
    assert report.told["harmless"].word == "done"
    assert report.outcome.exit_reason == "killed"


MEMORY = {
    "objects": "return len([bytes(1 << 20) for _ in range(4096)])",
    "one array": "import numpy\nreturn numpy.ones(4 << 30, dtype='uint8').sum()",
    "mappings": "return len([mmap.mmap(-1, 64 << 20) for _ in range(64)])",
    "a string": "return len('x' * (4 << 30))",
    "files in memory": "fd = os.memfd_create('x')\nreturn [os.write(fd, bytes(1 << 20)) for _ in range(4096)]",
}


@pytest.mark.parametrize("way", MEMORY)
async def test_memory_is_bounded(backend: Backend, host: Host, way: str) -> None:
    report = await attacked(backend, host, harmless="return len(bytes(1 << 20))", attack=MEMORY[way])
    assert report.told["harmless"] == Told("done", str(1 << 20))
    assert report.told.get("attack", Told("refused", "")).word == "refused", report.told
    assert report.outcome.exit_reason in {"finished", "memory", "killed"}


A_SMALL_FILE = "return open('small', 'wb').write(bytes(1 << 20))"
DISK = {
    "one file": "with open('big', 'wb') as file:\n    return [file.write(bytes(1 << 20)) for _ in range(1024)]",
    "many files": """
for number in range(1024):
    with open(f"big{number}", "wb") as file:
        file.write(bytes(1 << 20))""",
    "files without a name": """
kept = []
for number in range(200):
    kept.append(open("nameless", "wb"))
    os.unlink("nameless")
    for _ in range(8):
        kept[-1].write(bytes(1 << 20))""",
    "files that never had one": """
kept = []
for number in range(200):
    kept.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
    for _ in range(8):
        os.write(kept[-1], bytes(1 << 20))""",
    "a hole that is filled": "fd = os.open('big', os.O_CREAT | os.O_RDWR)\nos.posix_fallocate(fd, 0, 1 << 30)",
    "a folder that is not to be looked into": """
os.mkdir("hidden", 0o300)
for number in range(1024):
    with open(f"hidden/big{number}", "wb") as file:
        file.write(bytes(1 << 20))""",
}


@pytest.mark.parametrize("way", DISK)
async def test_the_disk_is_bounded(backend: Backend, host: Host, way: str) -> None:
    before, least = free_bytes(), [free_bytes()]
    told: dict[str, Told] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_the_disk, least)
        told |= (await attacked(backend, host, harmless=A_SMALL_FILE, attack=DISK[way])).told
        tasks.cancel_scope.cancel()
    assert told["harmless"] == Told("done", str(1 << 20))
    assert told.get("attack", Told("refused", "")).word == "refused", told
    assert before - min(least) < Limits().tmp_bytes * 4
    assert before - free_bytes() < Limits().tmp_bytes // 2


def free_bytes() -> int:
    found = os.statvfs(tempfile.gettempdir())
    return found.f_bavail * found.f_frsize


async def watch_the_disk(least: list[int]) -> None:
    while True:
        least.append(free_bytes())
        await anyio.sleep(0.01)


async def test_output_is_bounded_and_the_rest_is_drained(backend: Backend, host: Host) -> None:
    attack = "for _ in range(300):\n    sys.stdout.write('x' * (1 << 20))\n    sys.stderr.write('y' * (1 << 20))"
    report = await attacked(backend, host, attack=attack)
    assert report.outcome.exit_reason == "finished"
    assert report.outcome.stdout.count("x") > 0
    assert len(report.outcome.stdout) <= Limits().stream_bytes
    assert len(report.outcome.stderr) <= Limits().stream_bytes


async def test_open_files_are_bounded(backend: Backend, host: Host) -> None:
    attack = "return len([open('/dev/null') for _ in range(100_000)])"
    report = await attacked(backend, host, harmless="return len([open('/dev/null') for _ in range(9)])", attack=attack)
    assert report.told["harmless"] == Told("done", "9")
    assert "Too many open files" in report.told["attack"].detail


async def test_threads_are_bounded(backend: Backend, host: Host) -> None:
    attack = """
threading.stack_size(64 << 10)
stop = threading.Event()
started = []
try:
    while len(started) < 8000:
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        started.append(thread)
except RuntimeError:
    return len(started)
finally:
    stop.set()
raise AssertionError"""
    report = await attacked(backend, host, harmless=A_THREAD, attack=attack)
    assert report.told["harmless"] == Told("done", "1")
    assert report.told["attack"].word == "done", report.told
    assert 16 <= int(report.told["attack"].detail) < 8000


@pytest.mark.parametrize(
    "code", ["while True: pass", "10 ** 10 ** 9", "import time\ntime.sleep(999)", "input()\nwhile 1: 0"]
)
async def test_what_does_not_end_is_ended(backend: Backend, code: str) -> None:
    async with guest_in(backend) as guest:
        outcome = await guest.run(code, timeout_seconds=0.5)
        assert outcome.exit_reason in ({"timeout", "cpu"} if "input" not in code else {"error"})
        assert guest.is_ended is ("input" not in code)


async def test_a_broken_stack_breaks_the_guest_alone(backend: Backend, host: Host) -> None:
    attack = (
        "sys.setrecursionlimit(1 << 30)\ndeep = []\nfor _ in range(1_000_000):\n    deep = [deep]\nreturn repr(deep)"
    )
    report = await attacked(backend, host, harmless="return repr([[]])", attack=attack)
    assert list(report.told) == ["harmless"]
    assert report.outcome.exit_reason == "killed"


async def test_bad_pointers_break_the_guest_alone(backend: Backend, host: Host) -> None:
    report = await attacked(backend, host, harmless="return 1", attack="ctypes.string_at(1)")
    assert list(report.told) == ["harmless"]
    assert report.outcome.exit_reason == "killed"


async def test_nothing_survives_the_call(backend: Backend) -> None:
    marked = replace(Limits(), figure_bytes=(2 << 20) + secrets.randbelow(1 << 20))
    code = """
import os, signal, threading
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
for leave in (os.setsid, lambda: os.setpgid(0, 0), lambda: __import__("ctypes").CDLL(None).prctl(1, 0)):
    try:
        leave()
    except OSError:
        pass
def work():
    while True:
        pass
threading.Thread(target=work, daemon=False).start()
print("started")
"""
    async with guest_in(backend, marked) as guest:
        outcome = await guest.run(code, timeout_seconds=5)
        assert outcome.stdout == "started\n"
        assert processes_with(str(marked.figure_bytes))
    assert processes_with(str(marked.figure_bytes)) == []


async def test_a_guest_dies_with_the_process_that_the_server_knows(backend: Backend) -> None:
    marked = replace(Limits(), figure_bytes=(2 << 20) + secrets.randbelow(1 << 20))
    async with guest_in(backend, marked) as guest:
        await guest.ready()
        os.kill(min(processes_with(str(marked.figure_bytes))), signal.SIGKILL)
        outcome = await guest.run("import time\ntime.sleep(60)", timeout_seconds=5)
    assert outcome.exit_reason == "killed"  # a survivor would sleep on until the time is over


def processes_with(mark: str) -> list[int]:
    """Processes on the host whose command line holds a text; one that is dead has none."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


async def test_a_guest_finds_nothing_of_the_one_before(backend: Backend) -> None:
    leave = (
        "import builtins, os\nbuiltins.left = 1\nopen('left', 'w').write('x')\nos.environ['LEFT'] = '1'\nos.getcwd()"
    )
    look = "import builtins, os\n(hasattr(builtins, 'left'), os.path.exists('left'), 'LEFT' in os.environ)"
    async with guest_in(backend) as first:
        left = await first.run(leave, timeout_seconds=5)
        assert (await first.run(look, timeout_seconds=5)).value == "(True, True, True)"
        async with guest_in(backend) as second:
            assert (await second.run(look, timeout_seconds=5)).value == "(False, False, False)"
            if left.value not in {"'/tmp'", None}:
                neighbour = await second.run(f"open({left.value} + '/left').read()", timeout_seconds=5)
                assert "PermissionError" in neighbour.stderr


FORGERIES = {
    "garbage": "forge(os.urandom(4096))",
    "a length beyond all bounds": "forge(bytes([255] * 4))\nforge(b'x' * 4096)",
    "a length without a body": "forge((1000).to_bytes(4, 'big'))",
    "an empty frame": "forge(bytes(4))",
    "no JSON": "forge((3).to_bytes(4, 'big') + b'{{{')",
    "JSON that is too deep": "forge((100_000).to_bytes(4, 'big') + b'[' * 100_000)",
    "a kind that does not exist": "forge(framed(kind='root'))",
    "a second greeting": "forge(framed(kind='ready'))",
    "a figure that is none": "forge(framed(kind='figure', png='PGh0bWw+'))",
    "a figure by its path": "forge(framed(kind='figure', png=CANARY))",
    "a figure that is too large": (
        "import base64\n"
        "forge(framed(kind='figure', png=base64.b64encode(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(2_900_000)).decode()))"
    ),
    "an end with more in it": "forge(framed(kind='done', reason='finished', value=None, notices=[], root=True))",
    "an end for a reason that is none": "forge(framed(kind='done', reason='timeout', value=None, notices=[]))",
    "a value that is too long": "forge(framed(kind='done', reason='finished', value='x' * 100_000, notices=[]))",
    "a flood of output": "for _ in range(64):\n    forge(framed(kind='output', stream='stdout', text='x' * 1_000_000))",
    "a flood of figures": (
        "import base64\n"
        "for _ in range(1000):\n"
        "    forge(framed(kind='figure', png=base64.b64encode(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(90_000)).decode()))"
    ),
}


@pytest.mark.parametrize("way", FORGERIES)
async def test_a_forged_frame_harms_nothing_but_its_own_call(backend: Backend, host: Host, way: str) -> None:
    report = await attacked(backend, host, harmless="return len(list(channel()))", attack=FORGERIES[way], seconds=2)
    outcome = report.outcome
    assert int(report.told["harmless"].detail) >= 1  # the channel was found
    assert outcome.exit_reason in {"finished", "killed", "timeout"}
    assert all(figure.startswith(b"\x89PNG") and len(figure) <= Limits().figure_bytes for figure in outcome.figures)
    assert len(outcome.figures) <= Limits().most_figures
    assert len(outcome.stdout) <= Limits().stream_bytes


async def test_a_forged_end_ends_its_own_call_and_the_host_keeps_its_own_clock(backend: Backend, host: Host) -> None:
    attack = (
        "forge(framed(kind='done', reason='finished', value='forged', notices=['trust me']))\nwhile True:\n    pass"
    )
    report = await attacked(backend, host, harmless="return 1", attack=attack, seconds=5)
    assert (report.outcome.value, report.outcome.exit_reason) == ("forged", "finished")
    assert report.outcome.duration_ms < 5000


async def test_honest_code_gets_its_answer(backend: Backend) -> None:
    code = """
import asyncio, json, tempfile
import numpy, pandas
async def later():
    return 6
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/x", "w").write("7")
    seven = int(open(folder + "/x").read())
import matplotlib.pyplot as plt
plt.plot(numpy.sin(numpy.linspace(0, 6, 50)))
plt.savefig("own.png")
int(pandas.Series([asyncio.run(later()) * seven]).sum())
"""
    async with guest_in(backend) as guest:
        outcome = await guest.run(code, timeout_seconds=30)
    assert (outcome.exit_reason, outcome.value, outcome.stderr) == ("finished", "42", "")
    assert [figure[:4] for figure in outcome.figures] == [b"\x89PNG"]
