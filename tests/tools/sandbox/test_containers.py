"""The command line is checked word by word; a stand-in for the engine then runs the very program that it would be given.

No engine's daemon runs in these tests: that it keeps what its manual promises is for the probe to find out, on each host.
"""

from __future__ import annotations

import stat
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from tools.sandbox.containers import GVISOR, Container, Engine
from tools.sandbox.guests import Guest
from tools.sandbox.types import Limits

STAND_IN = """#!{python}
import ctypes, os, pathlib, sys  # ctypes now: the guest becomes nobody, who may not be able to read this interpreter
with pathlib.Path({log!r}).open("a") as log:
    log.write(" ".join(sys.argv[1:4]) + "\\n")
if sys.argv[1] == "run":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # what `--security-opt no-new-privileges` asks of an engine
    image = sys.argv.index("image:tag")
    isolated, command, program, argument = sys.argv[image + 1:]
    os.environ.clear()
    os.environ.update(sys.argv[at + 1].split("=", 1) for at in range(image) if sys.argv[at] == "--env")
    sys.argv[:] = [command, argument]
    exec(program)
"""


def installed(folder: Path, engine: str = "docker") -> dict[str, str]:
    """An environment in which the engine's program is found."""
    program = folder / engine
    program.write_text(STAND_IN.format(python=sys.executable, log=str(folder / "log")), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": str(folder), "DOCKER_HOST": "unix:///run/docker.sock", "OPENAI_API_KEY": "canary"}


def command_of(folder: Path, engine: Engine = "docker", runtime: str | None = None) -> tuple[str, ...]:
    container = Container(engine, image="image:tag", variables=installed(folder, engine), runtime=runtime)
    return container.launch(Limits()).argv


@pytest.mark.parametrize("engine", ["docker", "podman"])
@pytest.mark.parametrize(
    "wall",
    [
        ("--network", "none"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--user", "65534:65534"),
        ("--ipc", "none"),
        ("--pull", "never"),
        ("--memory", str(1 << 30)),
        ("--memory-swap", str(1 << 30)),
        ("--pids-limit", "256"),
        ("--ulimit", "core=0"),
        ("--entrypoint", "python3"),
    ],
)
def test_every_wall_is_asked_for(tmp_path: Path, engine: Engine, wall: tuple[str, str]) -> None:
    assert wall in set(pairwise(command_of(tmp_path, engine)))


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_nothing_of_the_host_is_mounted_and_nothing_is_granted(tmp_path: Path, engine: Engine) -> None:
    command = command_of(tmp_path, engine)
    options = {word.split("=")[0] for word in command[: command.index("image:tag")] if word.startswith("-")}
    assert {"--read-only", "--rm", "-i"} <= options
    assert not options & {
        "--volume",
        "-v",
        "--mount",
        "--privileged",
        "--cap-add",
        "--device",
        "--publish",
        "-p",
        "--env-file",
    }
    assert command[command.index("--tmpfs") + 1].split(":")[1] == f"rw,noexec,nosuid,nodev,size={128 << 20},mode=1777"
    assert ("--read-only-tmpfs=false" in command) is (engine == "podman")


def test_gvisor_is_asked_for_where_it_is_configured(tmp_path: Path) -> None:
    assert ("--runtime", "runsc") in set(pairwise(command_of(tmp_path, runtime=GVISOR)))
    assert "--runtime" not in command_of(tmp_path)
    assert Container("podman", image=None, variables={}, runtime=GVISOR).name == "podman-runsc"


def test_the_engine_sees_its_own_variables_and_no_key(tmp_path: Path) -> None:
    launch = Container("docker", image="image:tag", variables=installed(tmp_path)).launch(Limits())
    assert set(launch.env) == {"PATH", "DOCKER_HOST"}
    assert "canary" not in str(launch)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert "Install Podman" in (Container("podman", image="i", variables={"PATH": str(tmp_path)}).missing() or "")
    variables = installed(tmp_path)
    assert "POINTSMAN_SANDBOX_IMAGE" in (Container("docker", image=None, variables=variables).missing() or "")
    assert Container("docker", image="image:tag", variables=variables).missing() is None


@pytest.mark.anyio
async def test_the_program_on_the_command_line_is_the_guest_and_its_container_is_removed(tmp_path: Path) -> None:
    guest = await Guest.begin(Container("docker", image="image:tag", variables=installed(tmp_path)), Limits())
    good = await guest.run("print('out'); 6 * 7", timeout_seconds=10)
    bad = await guest.run("def f():\n    return 1 / 0\nf()", timeout_seconds=10)
    await guest.end()
    for thread in threading.enumerate():
        if thread.name == "container removal":
            thread.join()
    assert (good.stdout, good.value) == ("out\n", "42")
    assert "/guest.py" not in bad.stderr
    assert bad.stderr.endswith("ZeroDivisionError: division by zero\n")
    run, removed = tmp_path.joinpath("log").read_text(encoding="utf-8").splitlines()
    assert run == "run --rm -i"
    assert removed.startswith("rm --force pointsman-")


def test_each_container_has_a_name_of_its_own(tmp_path: Path) -> None:
    commands = {command_of(tmp_path)[command_of(tmp_path).index("--name") + 1] for _ in range(10)}
    assert len(commands) == 10
