"""Running code: what comes of it, what is kept, what ends it. On bubblewrap, which is there with the development packages."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from routing.errors import ToolFailed, UnknownHandle
from tools.sandbox import NEW_SESSION, Limits, Outcome, Sandbox
from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.guests import Guest
from tools.sandbox.pool import GuestPool
from tools.sandbox.sessions import CodeSessions
from tools.sandbox.types import Backend, Launch

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(Bubblewrap().missing() is not None, reason=str(Bubblewrap().missing())),
]
ADA, BOB = "ada", "bob"
MARKED = Limits(file_bytes=7_654_321)
"""Limits that stand in the command line of these tests' guests alone, so that they can be found among the processes."""


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncGenerator[Sandbox]:
    made = Sandbox([Bubblewrap()], limits=MARKED, pool_size=0)
    yield made
    await made.aclose()


@dataclass(slots=True, kw_only=True, eq=False)
class Broken:
    """A backend whose guests die at the start; it counts them."""

    name: str = "broken"
    launches: int = 0

    def missing(self) -> str | None:
        return None

    def launch(self, limits: Limits) -> Launch:
        self.launches += 1
        return Launch(argv=("/bin/sh", "-c", "echo no walls here >&2; exit 3"))


@dataclass(slots=True, kw_only=True, eq=False)
class Absent(Broken):
    """A backend that this host does not have."""

    name: str = "absent"
    refused: list[str] = field(default_factory=list[str])

    def missing(self) -> str | None:
        return "There is no such thing. Install it."


def guests_alive() -> int:
    """Processes on the host that belong to a guest of these tests."""
    mark = str(MARKED.file_bytes).encode()
    return sum(mark in _command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def run(
    sandbox: Sandbox, code: str, *, caller: str = ADA, session_id: str | None = None, timeout_seconds: float = 10.0
) -> Outcome:
    return await sandbox.run(code, caller=caller, session_id=session_id, timeout_seconds=timeout_seconds)


async def test_output_value_and_reason_come_back(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n2**127 - 1")

    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")
    assert outcome.value == "170141183460469231731687303715884105727"
    assert outcome.exit_reason == "finished"
    assert outcome.session_id is None


async def test_a_last_statement_that_is_no_expression_has_no_value(sandbox: Sandbox) -> None:
    assert (await run(sandbox, "x = 1")).value is None


async def test_a_traceback_shows_the_code_and_nothing_of_the_guest_program(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "def halve(x):\n    return x / 0\nprint('before')\nhalve(1)")

    assert outcome.exit_reason == "error"
    assert outcome.stdout == "before\n"
    assert "return x / 0" in outcome.stderr
    assert outcome.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "guest.py" not in outcome.stderr


async def test_a_syntax_error_is_the_codes_own(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "def f(:\n  pass")

    assert outcome.exit_reason == "error"
    assert "SyntaxError" in outcome.stderr
    assert "guest.py" not in outcome.stderr


@pytest.mark.parametrize(("code", "reason"), [("exit()", "finished"), ("raise SystemExit(3)", "error")])
async def test_leaving_is_an_error_only_with_a_status(sandbox: Sandbox, code: str, reason: str) -> None:
    assert (await run(sandbox, code)).exit_reason == reason


async def test_code_is_the_main_module_and_finds_what_programs_expect(sandbox: Sandbox) -> None:
    outcome = await run(
        sandbox,
        "import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    x: int\n"
        "assert __name__ == '__main__'\npickle.loads(pickle.dumps(P(3)))",
    )

    assert outcome.value == "P(x=3)", outcome.stderr


async def test_each_call_has_a_namespace_and_a_file_system_of_its_own(sandbox: Sandbox) -> None:
    await run(sandbox, "left = 1\nopen('left.txt', 'w').write('left')")
    outcome = await run(sandbox, "import os\n'left' in globals(), os.path.exists('left.txt')")

    assert outcome.value == "(False, False)"


async def test_a_session_keeps_its_variables(sandbox: Sandbox) -> None:
    first = await run(sandbox, "x = 20", session_id=NEW_SESSION)
    second = await run(sandbox, "x + 22", session_id=first.session_id)

    assert first.session_id
    assert (second.value, second.session_id) == ("42", first.session_id)
    assert second.duration_ms < 1000  # no call waits for output that cannot come any more


async def test_output_after_the_end_of_a_call_is_not_part_of_the_next(sandbox: Sandbox) -> None:
    late = (
        "import threading\ngo = threading.Event()\ndone = threading.Event()\n"
        "def late():\n    go.wait()\n    print('late')\n    done.set()\n"
        "threading.Thread(target=late, daemon=True).start()"
    )
    first = await run(sandbox, late, session_id=NEW_SESSION)
    second = await run(sandbox, "print('second')", session_id=first.session_id)
    third = await run(sandbox, "go.set(); done.wait()", session_id=first.session_id)

    assert second.stdout == "second\n"
    assert third.stdout == "late\n"


async def test_somebody_elses_session_answers_as_an_unknown_one(sandbox: Sandbox) -> None:
    session_id = (await run(sandbox, "secret = 1", session_id=NEW_SESSION)).session_id

    with pytest.raises(UnknownHandle) as foreign:
        await run(sandbox, "secret", session_id=session_id, caller=BOB)
    with pytest.raises(UnknownHandle) as unknown:
        await run(sandbox, "secret", session_id="py_0", caller=BOB)
    assert str(foreign.value).replace(str(session_id), "py_0") == str(unknown.value)


async def test_a_timeout_ends_the_session_and_says_that_its_variables_are_gone(sandbox: Sandbox) -> None:
    session_id = (await run(sandbox, "x = 1", session_id=NEW_SESSION)).session_id
    outcome = await run(sandbox, "print('so far')\nwhile True: pass", session_id=session_id, timeout_seconds=0.3)

    assert outcome.exit_reason == "timeout"
    assert outcome.stdout == "so far\n"
    assert outcome.session_id is None
    assert any("variables are gone" in notice for notice in outcome.notices)
    with pytest.raises(UnknownHandle):
        await run(sandbox, "x", session_id=session_id)


async def test_nothing_of_a_guest_survives_a_timeout(sandbox: Sandbox) -> None:
    survivors = (
        "import threading\nfor _ in range(3):\n"
        "    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\n"
    )
    outcome = await run(sandbox, survivors + "while True: pass", timeout_seconds=0.3)

    assert outcome.exit_reason == "timeout"
    assert guests_alive() == 0


async def test_nothing_of_a_guest_survives_a_call_that_is_cancelled(sandbox: Sandbox) -> None:
    await run(sandbox, "1")  # the probe is over, so that the time goes to the code
    with anyio.move_on_after(0.5) as scope:
        await run(sandbox, "while True: pass", timeout_seconds=30)

    assert scope.cancelled_caught
    assert guests_alive() == 0


async def test_a_guest_in_a_session_is_alive_until_it_is_closed(sandbox: Sandbox) -> None:
    await run(sandbox, "x = 1", session_id=NEW_SESSION)
    assert guests_alive() > 0

    await sandbox.aclose()
    assert guests_alive() == 0


async def test_too_much_memory_is_refused_and_the_session_lives_on(sandbox: Sandbox) -> None:
    session_id = (await run(sandbox, "x = 1", session_id=NEW_SESSION)).session_id
    outcome = await run(sandbox, "b'x' * (2 << 30)", session_id=session_id)

    assert outcome.exit_reason == "memory"
    assert (await run(sandbox, "x", session_id=session_id)).value == "1"


async def test_processor_time_has_a_bound_of_its_own() -> None:
    sandbox = Sandbox([Bubblewrap()], limits=Limits(cpu_seconds=2), pool_size=0)
    try:
        outcome = await run(sandbox, "while True: pass", timeout_seconds=30)
    finally:
        await sandbox.aclose()

    assert outcome.exit_reason in ("cpu", "killed")
    assert outcome.duration_ms < 20_000


async def test_threads_have_a_bound(sandbox: Sandbox) -> None:
    bomb = (
        "import threading\nthreading.stack_size(65536)\ngo = threading.Event()\nstarted = 0\n"
        "try:\n    while started < 2000:\n        threading.Thread(target=go.wait, daemon=True).start()\n        started += 1\n"
        "except RuntimeError: pass\nfinally: go.set()\nstarted"
    )
    outcome = await run(sandbox, bomb)

    assert 100 < int(str(outcome.value)) < 300


async def test_output_is_kept_to_a_bound_and_the_rest_counted(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nprint('end')\n'alive'")

    assert outcome.stdout == "x" * MARKED.stream_bytes
    assert outcome.value == "'alive'"
    written = 64 * 65536 + len("end\n")
    assert f"{written - MARKED.stream_bytes:,} bytes more" in " ".join(outcome.notices)


async def test_what_is_no_text_comes_back_as_text(sandbox: Sandbox) -> None:
    odd = "class Odd:\n    def __repr__(self): return '\\ud800é'\n"
    outcome = await run(sandbox, "import os\nos.write(1, bytes(range(256)))\nprint('\\ud800é')\n" + odd + "Odd()")

    assert outcome.stdout.endswith("?é\n")
    assert outcome.value == "?é"


async def test_a_value_has_a_bound(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "'x' * 1_000_000")

    assert len(outcome.value or "") < 20_000
    assert any("The value was cut" in notice for notice in outcome.notices)


async def test_code_that_ends_its_own_process_is_told_so(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "import os\nos._exit(0)")

    assert outcome.exit_reason == "killed"
    assert outcome.notices == ("The code ended its own process.",)


async def test_a_fault_in_compiled_code_is_told_by_its_signal(sandbox: Sandbox) -> None:
    outcome = await run(sandbox, "import ctypes\nctypes.string_at(0)")

    assert outcome.exit_reason == "killed"
    assert any("SIGSEGV" in notice for notice in outcome.notices)


async def test_figures_come_back_as_png_and_are_closed(sandbox: Sandbox) -> None:
    pytest.importorskip("matplotlib")
    draw = "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3), dpi=100)\nplt.plot([1, 2])\nplt.show()"
    first = await run(sandbox, draw, session_id=NEW_SESSION, timeout_seconds=60)
    second = await run(sandbox, "1", session_id=first.session_id)

    assert [size_of(png) for png in first.figures] == [(400, 300)]
    assert (first.stderr, first.notices) == ("", ())
    assert second.figures == ()


async def test_more_and_larger_figures_than_allowed_are_left_out_and_counted(sandbox: Sandbox) -> None:
    pytest.importorskip("matplotlib")
    code = (
        "import numpy as np, matplotlib.pyplot as plt\n"
        "plt.figure(figsize=(20, 20), dpi=100); plt.imshow(np.random.default_rng(0).random((2000, 2000, 3)))\n"
        f"for _ in range({MARKED.most_figures + 1}): plt.figure(figsize=(1, 1))"
    )
    outcome = await run(sandbox, code, timeout_seconds=60)

    assert len(outcome.figures) == MARKED.most_figures - 1
    assert "Figure 1 was left out" in outcome.notices[0]
    assert outcome.notices[1] == "2 figures more were left out."


async def test_frames_that_the_code_forges_change_nothing_but_its_own_result(sandbox: Sandbox) -> None:
    forge = (
        "import json, os, stat, struct\n"
        "for fd in range(3, 64):\n"
        "    try: pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)\n"
        "    except OSError: continue\n"
        "    body = json.dumps({'kind': 'figure', 'png': 'bm8gcG5n'}).encode()\n"
        "    if pipe:\n"
        "        try: os.write(fd, struct.pack('>I', len(body)) + body)\n"
        "        except OSError: pass\n"
    )
    outcome = await run(sandbox, forge)

    assert outcome.exit_reason == "killed"
    assert outcome.figures == ()
    assert (await run(sandbox, "'next'")).value == "'next'"


async def test_the_oldest_idle_session_makes_room_for_a_new_one() -> None:
    sandbox = Sandbox([Bubblewrap()], pool_size=0, sessions=CodeSessions(most=2))
    try:
        first, second, third = [(await run(sandbox, "x = 1", session_id=NEW_SESSION)).session_id for _ in range(3)]
        with pytest.raises(UnknownHandle):
            await run(sandbox, "x", session_id=first)
        assert (await run(sandbox, "x", session_id=second)).value == "1"
        assert (await run(sandbox, "x", session_id=third)).value == "1"
    finally:
        await sandbox.aclose()


async def test_a_callers_own_session_makes_room_before_somebody_elses() -> None:
    sandbox = Sandbox([Bubblewrap()], pool_size=0, sessions=CodeSessions(most=2))
    try:
        of_bob = (await run(sandbox, "x = 'bob'", session_id=NEW_SESSION, caller=BOB)).session_id
        for _ in range(2):
            await run(sandbox, "x = 'ada'", session_id=NEW_SESSION)
        assert (await run(sandbox, "x", session_id=of_bob, caller=BOB)).value == "'bob'"
    finally:
        await sandbox.aclose()


async def test_an_idle_session_ends_by_itself() -> None:
    sessions = CodeSessions(idle_seconds=0)
    sandbox = Sandbox([Bubblewrap()], limits=MARKED, pool_size=0, sessions=sessions)
    try:
        session_id = str((await run(sandbox, "x = 1", session_id=NEW_SESSION)).session_id)
        with anyio.fail_after(5):
            while guests_alive():
                await anyio.lowlevel.checkpoint()
        with pytest.raises(UnknownHandle):
            await run(sandbox, "x", session_id=session_id)
    finally:
        await sandbox.aclose()


async def test_a_session_in_use_is_not_idle() -> None:
    sandbox = Sandbox([Bubblewrap()], pool_size=0, sessions=CodeSessions(idle_seconds=1.0))
    try:
        session_id = (await run(sandbox, "import time", session_id=NEW_SESSION)).session_id
        outcome = await run(sandbox, "time.sleep(1.2); 'awake'", session_id=session_id)
    finally:
        await sandbox.aclose()

    assert outcome.value == "'awake'"


async def test_without_any_backend_nothing_runs() -> None:
    absent = Absent()
    sandbox = Sandbox([absent])

    with pytest.raises(ToolFailed, match="Install it"):
        await run(sandbox, "1")
    assert not (await sandbox.available()).usable
    assert absent.launches == 0


async def test_where_the_sandbox_is_off_nothing_runs() -> None:
    with pytest.raises(ToolFailed, match="POINTSMAN_SANDBOX is off"):
        await run(Sandbox([]), "1")


async def test_the_next_backend_is_used_where_a_stronger_one_does_not_hold() -> None:
    broken = Broken()
    chain: Sequence[Backend] = [Absent(), broken, Bubblewrap()]
    sandbox = Sandbox(chain, pool_size=0)
    try:
        verdicts = await sandbox.verdicts()
        assert [verdict.usable for verdict in verdicts] == [False, False, True]
        assert "no walls here" in str(verdicts[1].problem)
        assert (await run(sandbox, "6 * 7")).value == "42"
        assert broken.launches == 1
    finally:
        await sandbox.aclose()


async def test_a_backend_that_stops_to_work_is_probed_again_and_never_trusted() -> None:
    backend = Fading()
    sandbox = Sandbox([backend], pool_size=0)
    assert (await sandbox.available()).usable

    backend.worn_out = True
    with pytest.raises(ToolFailed, match="does not start"):
        await run(sandbox, "1")
    assert not (await sandbox.available()).usable


@dataclass(slots=True, kw_only=True, eq=False)
class Fading:
    """Bubblewrap, until it is worn out."""

    name: str = "fading"
    worn_out: bool = False

    def missing(self) -> str | None:
        return None

    def launch(self, limits: Limits) -> Launch:
        launch = Bubblewrap().launch(limits)
        return replace(launch, argv=("/bin/false",)) if self.worn_out else launch


async def test_a_guest_that_died_while_it_waited_is_replaced() -> None:
    pool = GuestPool(Bubblewrap(), MARKED, size=1)
    await pool.fill()
    (dead,) = pool._waiting  # pyright: ignore[reportPrivateUsage]  # nobody else knows a guest that waits
    await dead.ready()
    await dead.end()
    guest = await pool.take()
    try:
        assert guest is not dead
        assert (await guest.run("6 * 7", timeout_seconds=10)).value == "42"
    finally:
        await guest.end()
        await pool.aclose()


async def test_guests_in_waiting_are_replaced_once_when_code_asks_for_more_than_they_import() -> None:
    pool = GuestPool(Bubblewrap(), MARKED, size=1)
    waiting: list[Guest] = []
    try:
        for code in ("import math", "import pandas", "import pandas as pd"):
            pool.learn(code)
            await pool.fill()
            waiting += pool._waiting  # pyright: ignore[reportPrivateUsage]  # nobody else knows a guest that waits
    finally:
        await pool.aclose()

    first, second, third = waiting
    assert first is not second
    assert second is third
    assert guests_alive() == 0


async def test_guests_in_waiting_end_with_the_sandbox() -> None:
    sandbox = Sandbox([Bubblewrap()], limits=MARKED, pool_size=2)
    await run(sandbox, "1")
    assert guests_alive() > 0

    await sandbox.aclose()
    assert guests_alive() == 0


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height, from the IHDR chunk that follows the signature."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    assert png[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)
