from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from routing.errors import ToolFailed
from tests.tools.fetching.website import ECHO
from tools.fetching.child import MOST_MEMORY_BYTES
from tools.fetching.reading import CHILD_COMMAND, Reader

pytestmark = pytest.mark.anyio
URL = "http://site.example/"


def program(source: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source)


def pid_of(reader: Reader) -> int:
    child = reader._child  # pyright: ignore[reportPrivateUsage] - nobody but a test wants it
    assert child is not None
    return child.process.pid


async def test_the_real_process_reads_html_and_reports_what_it_cannot_read_and_goes_on() -> None:
    reader = Reader()
    document = await reader.read(b"<title>T</title><h1>Hello</h1><p>w\xc3\xb6rld", "html", url=URL, charset="utf-8")
    first = pid_of(reader)
    with pytest.raises(ToolFailed, match="damaged"):
        await reader.read(b"%PDF-nothing", "pdf", url=URL)
    again = await reader.read(b"[1]", "json", url=URL)
    second = pid_of(reader)
    await reader.aclose()

    assert (document.title, document.text) == ("T", "# Hello\n\nwörld")
    assert again.text == "[\n  1\n]"
    assert first == second  # it is kept


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
async def test_the_process_has_none_of_our_keys_and_a_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    reader = Reader()
    await reader.read(b"x", "text", url=URL)
    proc = Path(f"/proc/{pid_of(reader)}")
    environment, limits = (proc / "environ").read_bytes(), (proc / "limits").read_text()
    modules = (proc / "maps").read_text()
    await reader.aclose()

    assert b"sk-canary" not in environment
    assert f"Max address space         {MOST_MEMORY_BYTES}" in limits
    assert "pydantic_core" not in modules  # the MCP SDK, which is not its business


async def test_a_document_that_takes_too_long_ends_the_process_and_the_next_one_gets_another() -> None:
    hangs = ECHO.replace("order =", "order = None; import signal; signal.pause() if b'hang' in line else None; order =")
    reader = Reader(seconds=0.2, command=program(hangs))
    await reader.read(b"x", "text", url=URL)
    first = pid_of(reader)
    with pytest.raises(ToolFailed, match=r"longer than 0\.2 s"):
        await reader.read(b"x", "text", url="http://hang.example/")
    assert not is_running(first)

    assert (await reader.read(b"hello", "text", url=URL)).text == "hello"
    assert pid_of(reader) != first
    await reader.aclose()


@pytest.mark.parametrize(
    "fault", ["os._exit(9)", "os.kill(os.getpid(), 11)", "print('no json', flush=True)", "print('[]', flush=True)"]
)
async def test_a_process_that_breaks_down_is_a_failed_tool_and_is_replaced(fault: str) -> None:
    breaks = ECHO.replace("order =", f"import os; {fault} if b'break' in line else None; order =")
    reader = Reader(command=program(breaks))
    with pytest.raises(ToolFailed, match="parser"):
        await reader.read(b"x", "text", url="http://break.example/")
    assert (await reader.read(b"hello", "text", url=URL)).text == "hello"
    await reader.aclose()


async def test_a_caller_who_is_cancelled_leaves_no_answer_for_the_next_one() -> None:
    slow = ECHO.replace("order =", "import signal; signal.pause() if b'hang' in line else None; order =")
    reader = Reader(command=program(slow))
    await reader.read(b"x", "text", url=URL)
    first = pid_of(reader)
    with anyio.move_on_after(0.05):
        await reader.read(b"the answer to another question", "text", url="http://hang.example/")

    assert not is_running(first)
    assert (await reader.read(b"mine", "text", url=URL)).text == "mine"
    await reader.aclose()


async def test_a_process_that_does_not_start_is_said_so() -> None:
    for command, seconds in ((program("raise SystemExit(1)"), 10.0), (program("input()"), 0.1)):
        with pytest.raises(ToolFailed, match="does not start"):
            await Reader(command=command, startup_seconds=seconds).read(b"x", "text", url=URL)
    with pytest.raises(ToolFailed, match="cannot be started"):
        await Reader(command=("/no/such/program",)).read(b"x", "text", url=URL)


async def test_closing_ends_the_process_and_may_be_done_without_one() -> None:
    reader = Reader(command=program(ECHO))
    await reader.aclose()
    await reader.read(b"x", "text", url=URL)
    pid = pid_of(reader)
    await reader.aclose()

    assert not is_running(pid)


async def test_the_process_goes_when_whoever_started_it_is_gone() -> None:
    process = await anyio.open_process(CHILD_COMMAND)
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.fail_after(30):
        assert await process.wait() == 0
    await process.aclose()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
