from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2 as httpx
import pytest
from anyio.abc import Process

from routing.embedded import child
from routing.embedded import runtime as runtime_module
from routing.embedded.runtime import EmbeddedRuntime, default_threads
from routing.errors import AssetError
from routing.types import OnProgress, Progress

FAKE_XLLAMACPP = '''
"""Takes the place of the native library: the same server, without a model."""
import json, os, pathlib, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

print("the native library prints to stdout")


def CommonParams():
    parts = ("model", "cpuparams", "cpuparams_batch", "sampling")
    return SimpleNamespace(**{part: SimpleNamespace() for part in parts})


class Server:
    def __init__(self, params):
        seen = {
            "pid": os.getpid(), "argv": sys.orig_argv, "path": params.model.path, "alias": sorted(params.model_alias),
            "hostnames": params.hostnames, "threads": params.cpuparams.n_threads, "n_ctx": params.n_ctx,
            "spins": os.popen("echo $GOMP_SPINCOUNT").read().strip(),
        }
        with pathlib.Path(params.model.path).with_suffix(".starts").open("a") as log:
            log.write(json.dumps(seen) + chr(10))
        if pathlib.Path(params.model.path).read_bytes() != b"GGUF":
            print("gguf: invalid magic", file=sys.stderr)
            raise RuntimeError("no model in there")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                allowed = self.headers["Authorization"] == f"Bearer {params.api_keys[0]}"
                self.send_response(200 if self.path == "/health" or allowed else 401)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", params.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
'''


async def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights, and the fake library first on the children's path."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "xllamacpp.py").write_text(FAKE_XLLAMACPP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


def runtime_of(
    weights: Path, *, command: Sequence[str] = runtime_module.CHILD_COMMAND, startup_seconds: float = 30
) -> EmbeddedRuntime:
    async def source(on_progress: OnProgress) -> Path:
        await on_progress(Progress(message="fetching the weights"))
        return weights

    return EmbeddedRuntime(
        source,
        log_path=weights.parent / "logs" / "llama.log",
        threads=3,
        context_tokens=4096,
        startup_seconds=startup_seconds,
        command=command,
    )


@pytest.fixture
async def runtime(weights: Path) -> AsyncGenerator[EmbeddedRuntime]:
    runtime = runtime_of(weights)
    yield runtime
    await runtime.aclose()


def starts(weights: Path) -> list[dict[str, object]]:
    log = weights.with_suffix(".starts")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def pid_in(weights: Path) -> int:
    """The process id of the server that was started first."""
    return int(str(starts(weights)[0]["pid"]))


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def status(url: str, key: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(url, headers={"Authorization": f"Bearer {key}"})).status_code


@pytest.mark.anyio
async def test_the_first_use_fetches_the_weights_and_starts_a_server_that_answers(
    runtime: EmbeddedRuntime, weights: Path
) -> None:
    heard: list[str] = []

    async def hear(progress: Progress) -> None:
        heard.append(progress.message)

    assert starts(weights) == []
    base_url = await runtime.base_url(hear)
    assert await status(f"{base_url}/models", runtime.api_key) == 200
    assert heard == ["fetching the weights", "starting the local model"]


@pytest.mark.anyio
async def test_the_server_gets_its_settings_and_listens_on_the_loopback_only(
    runtime: EmbeddedRuntime, weights: Path
) -> None:
    await runtime.base_url(ignore)
    [seen] = starts(weights)
    expected = {"path": str(weights), "alias": ["local"], "hostnames": ["127.0.0.1"], "threads": 3, "n_ctx": 4096}
    assert {name: seen[name] for name in expected} == expected


@pytest.mark.skipif(sys.platform == "win32", reason="OpenMP's GOMP_SPINCOUNT is libgomp's")
@pytest.mark.anyio
async def test_the_servers_threads_do_not_spin_for_long(runtime: EmbeddedRuntime, weights: Path) -> None:
    await runtime.base_url(ignore)
    assert starts(weights)[0]["spins"] == "1000"


@pytest.mark.anyio
async def test_only_who_has_the_key_is_served_and_no_list_of_processes_shows_it(
    runtime: EmbeddedRuntime, weights: Path
) -> None:
    base_url = await runtime.base_url(ignore)
    assert await status(f"{base_url}/models", "another key") == 401
    assert len(runtime.api_key) >= 40
    assert runtime.api_key not in str(starts(weights)[0]["argv"])


@pytest.mark.anyio
async def test_many_first_uses_at_once_start_one_server(runtime: EmbeddedRuntime, weights: Path) -> None:
    urls: set[str] = set()

    async def use() -> None:
        urls.add(await runtime.base_url(ignore))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(use)
    assert (len(urls), len(starts(weights))) == (1, 1)


@pytest.mark.anyio
async def test_a_server_that_died_is_started_again_with_the_same_key(runtime: EmbeddedRuntime, weights: Path) -> None:
    before = await runtime.base_url(ignore)
    os.kill(pid_in(weights), signal.SIGTERM)
    with anyio.fail_after(10):
        while (after := await runtime.base_url(ignore)) == before:
            await anyio.lowlevel.checkpoint()
    assert await status(f"{after}/models", runtime.api_key) == 200


@pytest.mark.anyio
async def test_a_server_that_runs_is_not_asked_for_its_weights_again(weights: Path) -> None:
    asked: list[OnProgress] = []

    async def source(on_progress: OnProgress) -> Path:
        asked.append(on_progress)
        return weights

    runtime = EmbeddedRuntime(source, log_path=weights.with_suffix(".log"))
    assert await runtime.base_url(ignore) == await runtime.base_url(ignore)
    await runtime.aclose()
    assert len(asked) == 1


@pytest.mark.anyio
async def test_closing_ends_the_server_and_may_be_done_twice(weights: Path) -> None:
    runtime = runtime_of(weights)
    await runtime.base_url(ignore)
    await runtime.aclose()
    await runtime.aclose()
    assert_gone(pid_in(weights))


async def child_of(weights: Path) -> Process:
    """A server as `EmbeddedRuntime` starts it, ready to serve."""
    process = await anyio.open_process([sys.executable, "-P", child.__file__], stderr=None)
    assert process.stdin is not None
    assert process.stdout is not None
    config = {"model_path": str(weights), "api_key": "k", "threads": 1, "context_tokens": 512, "sleep_seconds": 60}
    await process.stdin.send(json.dumps(config).encode() + b"\n")
    assert b"http://127.0.0.1:" in await process.stdout.receive()
    return process


@pytest.mark.anyio
async def test_the_server_ends_when_its_parent_is_gone(weights: Path) -> None:
    async with await child_of(weights) as process:
        assert process.stdin is not None
        await process.stdin.aclose()  # what the kernel does when we are killed
        with anyio.fail_after(10):
            assert await process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.anyio
async def test_ctrl_c_in_the_terminal_leaves_the_servers_end_to_its_parent(weights: Path) -> None:
    async with await child_of(weights) as process:
        assert process.stdin is not None
        process.send_signal(signal.SIGINT)
        await process.stdin.aclose()
        assert await process.wait() == 0


@pytest.mark.anyio
async def test_a_start_that_fails_tells_its_reason_the_last_words_of_the_log_and_another_way(weights: Path) -> None:
    weights.write_bytes(b"rubbish")  # noqa: ASYNC240 - a test may wait for the disk
    with pytest.raises(AssetError) as raised:
        await runtime_of(weights).base_url(ignore)
    for words in ("no model in there", "gguf: invalid magic", "Ollama", "API key"):
        assert words in str(raised.value)


@pytest.mark.anyio
async def test_a_platform_without_xllamacpp_is_told_so_with_another_way_to_a_model(weights: Path) -> None:
    (weights.parent / "fake" / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1: no such file')")
    with pytest.raises(AssetError, match=r"xllamacpp.*libgomp\.so\.1.*Ollama"):
        await runtime_of(weights).base_url(ignore)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit('a crash')", "it broke down.*a crash"),
        ("print('hello', flush=True); input()", "it broke down"),
        ("print('[]', flush=True); input()", r"it answered \[\]"),
    ],
)
@pytest.mark.anyio
async def test_a_server_that_does_not_say_where_it_is_has_failed(weights: Path, script: str, reason: str) -> None:
    runtime = runtime_of(weights, command=(sys.executable, "-c", script))
    with pytest.raises(AssetError, match=f"(?s){reason}"):
        await runtime.base_url(ignore)


@pytest.mark.anyio
async def test_a_server_that_never_answers_has_failed_when_its_time_is_over(weights: Path) -> None:
    runtime = runtime_of(weights, command=(sys.executable, "-c", "input(); input()"), startup_seconds=0.05)
    with pytest.raises(AssetError, match=r"nothing was heard in 0\.05 s"):
        await runtime.base_url(ignore)


@pytest.mark.skipif(sys.platform == "win32", reason="there a process can only be killed")
@pytest.mark.parametrize(("on_sigterm", "last_words"), [("last_words", "asked"), ("signal.SIG_IGN", "")])
@pytest.mark.anyio
async def test_a_server_is_asked_to_end_before_it_is_made_to(
    weights: Path, on_sigterm: str, last_words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "_GRACE_SECONDS", 30 if last_words else 0.05)
    script = (
        "import os, pathlib, signal, sys, time\n"
        f"pid, words = pathlib.Path({str(weights.with_suffix('.pid'))!r}), pathlib.Path({str(weights)!r})\n"
        "def last_words(*_): words.write_text('asked'); os._exit(0)\n"
        f"signal.signal(signal.SIGTERM, {on_sigterm})\n"
        "pid.write_text(str(os.getpid())); words.write_text('')\n"
        "print('[]', flush=True)\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(AssetError, match=r"it answered \[\]"):
        await runtime_of(weights, command=(sys.executable, "-c", script)).base_url(ignore)
    assert weights.read_text() == last_words  # noqa: ASYNC240 - a test may wait for the disk
    assert_gone(int(weights.with_suffix(".pid").read_text()))


@pytest.mark.anyio
async def test_cancelling_the_start_leaves_no_server_behind_and_the_next_use_starts_one(
    runtime: EmbeddedRuntime, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = anyio.Event()

    async def never(address: str) -> None:
        started.set()
        await anyio.sleep_forever()

    with monkeypatch.context() as patched:
        patched.setattr(runtime_module, "_wait_for_health", never)
        async with anyio.create_task_group() as group:
            group.start_soon(runtime.base_url, ignore)
            await started.wait()
            group.cancel_scope.cancel()
    assert_gone(pid_in(weights))
    base_url = await runtime.base_url(ignore)
    assert await status(f"{base_url}/models", runtime.api_key) == 200


def test_the_default_is_between_one_and_four_threads() -> None:
    assert 1 <= default_threads() <= 4
