"""Containers: Docker or Podman, with gVisor's own kernel (`runsc`) around the guest where it is installed.

The image is the user's: it is never pulled from here (``--pull never``), and brings Python 3.11 or newer and what code shall
find in it. Nothing of the host is mounted; the guest program travels as an argument, so that a daemon in a virtual machine, on
another host or under SELinux runs it just as well. There is no network, no capability, one user without a name, a read-only
file system, and a ``/tmp`` in memory.

A container outlives the client that started it, so `Launch.end` removes it by its name. Command lines: docker-run(1),
podman-run(1).
"""

from __future__ import annotations

import functools
import secrets
import shutil
import subprocess
import threading
from collections.abc import Mapping
from typing import Literal

from tools.sandbox.host import MOST_TASKS
from tools.sandbox.types import GUEST_PROGRAM, Launch, Limits, guest_arguments

Engine = Literal["docker", "podman"]
GVISOR = "runsc"

_SECONDS_TO_REMOVE = 60
_CLIENT_VARIABLES = (
    "PATH", "HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "CONTAINER_HOST",
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
)  # fmt: skip
_WALLS = (
    *("--pull", "never", "--network", "none", "--ipc", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--user", "65534:65534", "--hostname", "sandbox", "--workdir", "/tmp"),  # noqa: S108
)


class Container:
    """Guests in containers made from ``image``; ``variables`` is the environment that the engine's client finds itself in."""

    def __init__(
        self, engine: Engine, *, image: str | None, variables: Mapping[str, str], runtime: str | None = None
    ) -> None:
        self._engine: Engine = engine
        self._image = image
        self._runtime = runtime
        self._variables = {name: variables[name] for name in _CLIENT_VARIABLES if name in variables}

    @property
    def name(self) -> str:
        """``docker`` or ``podman``, and the runtime where one is set: ``docker-runsc``."""
        return self._engine if self._runtime is None else f"{self._engine}-{self._runtime}"

    def missing(self) -> str | None:
        """Why it cannot be used here."""
        if self._client() is None:
            return f"There is no program `{self._engine}`. Install {self._engine.title()}."
        if not self._image:
            return (
                "No image is set, and none is pulled without your consent. Pull or build one with Python 3.11 or newer "
                "(and numpy, pandas and matplotlib, if code shall find them), and name it in POINTSMAN_SANDBOX_IMAGE."
            )
        return None

    def launch(self, limits: Limits) -> Launch:
        """Start Python in a new container, which ends with it."""
        container = f"pointsman-{secrets.token_hex(8)}"
        client = self._client() or self._engine
        runtime = ("--runtime", self._runtime) if self._runtime else ()
        own_tmpfs = ("--read-only-tmpfs=false",) if self._engine == "podman" else ()
        walls = (*_WALLS, *own_tmpfs, *runtime, *_bounds(limits), *_environment())
        return Launch(
            argv=(client, "run", "--rm", "-i", "--name", container, *walls, *self._python(limits)),
            env=self._variables,
            end=functools.partial(_remove_soon, (client, "rm", "--force", container), self._variables),
        )

    def _client(self) -> str | None:
        return shutil.which(self._engine, path=self._variables.get("PATH"))

    def _python(self, limits: Limits) -> tuple[str, ...]:
        isolated, _, argument = guest_arguments(limits)
        return ("--entrypoint", "python3", self._image or "", isolated, "-c", _program(), argument)


def _bounds(limits: Limits) -> tuple[str, ...]:
    memory = str(limits.memory_bytes)
    return (
        *("--memory", memory, "--memory-swap", memory, "--pids-limit", str(MOST_TASKS), "--ulimit", "core=0"),
        *("--ulimit", f"cpu={limits.cpu_seconds}", "--ulimit", f"nofile={limits.open_files}"),
        *("--ulimit", f"fsize={limits.file_bytes}"),
        *("--tmpfs", f"/tmp:rw,noexec,nosuid,nodev,size={limits.tmp_bytes},mode=1777"),  # noqa: S108 - the container's
    )


def _environment() -> tuple[str, ...]:
    return ("--env", "LANG=C.UTF-8", "--env", "TMPDIR=/tmp", "--env", "MALLOC_ARENA_MAX=2")


@functools.cache
def _program() -> str:
    """The guest program as an expression for ``python -c``, under the name that its tracebacks know it by."""
    source = GUEST_PROGRAM.read_text(encoding="utf-8")
    return f"exec(compile({source!r}, '/guest.py', 'exec'), {{'__name__': '__main__', '__file__': '/guest.py'}})"


def _remove_soon(command: tuple[str, ...], variables: Mapping[str, str]) -> None:
    """Remove a container without waiting for its engine, whether it runs, has ended, or is gone already."""
    threading.Thread(target=_remove, args=(command, variables), name="container removal").start()


def _remove(command: tuple[str, ...], variables: Mapping[str, str]) -> None:
    subprocess.run(  # noqa: S603 - no shell, and a name of our own
        command, env=variables, check=False, capture_output=True, timeout=_SECONDS_TO_REMOVE
    )
