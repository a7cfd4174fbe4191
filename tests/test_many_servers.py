"""Several servers that are one: real processes over HTTP, on one PostgreSQL, which goes away and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult

from routing.state import LEASE_SECONDS
from tests.host import ERAS, Era, data_of, text_of
from tests.servers import Postgres, postgres, redis
from tests.test_transports import ROOT, environment, free_port, serving
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
QUESTION = {"prompt": "What is the capital of France?", "force_model": "openai/gpt-4.1"}
FICKLE = {"force_model": "openai/gpt-4o-mini"}
BREAKER = 'pointsman_breaker_state{model="openai/gpt-4o-mini"}'
OPEN = 2.0
_AWAY = "the store does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Servers on one database, each with a home of its own."""

    ports: Sequence[int]
    logs: Sequence[Path]
    upstream: Upstream
    database: Postgres
    url: str

    @asynccontextmanager
    async def host(self, place: int, era: Era = "auto") -> AsyncGenerator[Client]:
        async with Client(f"http://127.0.0.1:{self.ports[place]}/mcp", mode=era) as client:
            yield client

    async def ask(self, place: int, **arguments: Any) -> CallToolResult:
        async with self.host(place) as client:
            return await client.call_tool("route_and_answer", {**QUESTION, **arguments})

    def breaker(self, place: int) -> float:
        """As /metrics shows it: 0 closed, 1 half open, 2 open."""
        page = httpx.get(f"http://127.0.0.1:{self.ports[place]}/metrics").text
        return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(BREAKER))

    def swept(self) -> int:
        """How much is reserved after what is over was freed, as asking for /readyz does."""
        httpx.get(f"http://127.0.0.1:{self.ports[0]}/readyz")
        return int(self.in_database("SELECT coalesce(sum(microusd), 0) FROM pointsman.reservations")[0])

    def in_database(self, query: str) -> Any:
        import psycopg  # noqa: PLC0415

        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchone()


@pytest.fixture(scope="module")
def database() -> Generator[Postgres]:
    with postgres() as server:
        yield server


@contextmanager
def fleet(folder: Path, database: Postgres, **settings: str) -> Generator[Fleet]:
    """Two servers. A call may cost five cents, which is all there is for an hour."""
    url = database.database()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        shared = {
            "POINTSMAN_DATABASE_URL": url,
            "POINTSMAN_MAX_RETRIES": "0",
            "POINTSMAN_HOURLY_BUDGET_USD": "0.05",
            **settings,
        }
        ports = [
            stack.enter_context(
                serving(
                    "streamable-http",
                    {**environment(folder / f"home{number}", upstream), **shared},
                    log_to=folder / f"log{number}",
                )
            )
            for number in range(2)
        ]
        logs = [folder / f"log{number}" for number in range(2)]
        yield Fleet(ports=ports, logs=logs, upstream=upstream, database=database, url=url)


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory, database: Postgres) -> Generator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), database) as running:
        yield running


async def test_a_session_that_began_on_one_server_goes_on_on_another(it: Fleet) -> None:
    begun = data_of(await it.ask(0))
    again = data_of(await it.ask(1, prompt="And of Spain?", session_id=begun["session_id"]))
    assert again["session_id"] == begun["session_id"]
    sent = str(it.upstream.requests[-1].body)
    assert "capital of France" in sent
    assert "Paris." in sent

    unknown = await it.ask(1, session_id="ses_nobody")
    assert "there is no session of that id" in text_of(unknown)


async def test_what_one_server_has_set_aside_of_the_budget_no_other_can_spend(it: Fleet) -> None:
    it.upstream.reached.clear()
    it.upstream.may_answer.clear()
    results: dict[str, CallToolResult] = {}

    async def take_it_all() -> None:
        results["first"] = await it.ask(0, max_tokens=100_000)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(take_it_all)
            assert await anyio.to_thread.run_sync(it.upstream.reached.wait, 20)
            results["second"] = await it.ask(1)
            it.upstream.may_answer.set()
    finally:
        it.upstream.may_answer.set()
    assert "hourly budget" in text_of(results["second"])
    assert "limited to" in " ".join(data_of(results["first"])["notices"])
    assert data_of(await it.ask(1))["response"] == "Paris."


async def test_a_breaker_that_opens_in_one_server_is_heard_by_the_other_within_a_second(it: Fleet) -> None:
    await breaker_heard(it)


async def test_redis_carries_it_too(tmp_path: Path, database: Postgres) -> None:
    with redis() as url, fleet(tmp_path, database, POINTSMAN_REDIS_URL=url) as it:
        await breaker_heard(it)


async def breaker_heard(it: Fleet) -> None:
    for place in range(2):
        data_of(await it.ask(place, **FICKLE))  # by now each has met the other
    assert [it.breaker(place) for place in range(2)] == [0.0, 0.0]
    told = httpx.get(f"http://127.0.0.1:{it.ports[0]}/readyz").json()["checks"]["sharing"]["detail"]
    assert told.startswith("limits and breakers shared by ")
    it.upstream.status = 503
    try:
        for _ in range(4):
            assert (await it.ask(0, **FICKLE)).is_error
        assert it.breaker(1) == 0.0
        assert (await it.ask(0, **FICKLE)).is_error
        assert await _seconds_until(lambda: it.breaker(1) == OPEN) < 1
    finally:
        it.upstream.status = 200
    data_of(await it.ask(1, **FICKLE))  # the only model that may be asked is knocked at, and answers
    assert await _seconds_until(lambda: it.breaker(0) == 0.0) < 1


async def _seconds_until(holds: Callable[[], bool], *, at_most: float = 30) -> float:
    begun = time.monotonic()
    while not await anyio.to_thread.run_sync(holds):
        assert time.monotonic() - begun < at_most
    return time.monotonic() - begun


async def test_a_session_of_the_older_protocol_lives_in_one_process_and_the_newer_needs_none(it: Fleet) -> None:
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    headers = {"accept": "application/json, text/event-stream"}
    urls = [f"http://127.0.0.1:{port}/mcp" for port in it.ports]
    begun = httpx.post(urls[0], json=hello, headers=headers)
    headers["mcp-session-id"] = begun.headers["mcp-session-id"]
    assert httpx.post(urls[1], json=listing, headers=headers).status_code == 404
    assert httpx.post(urls[0], json=listing, headers=headers).status_code == 200
    async with it.host(0) as newer:
        assert newer.protocol_version == "2026-07-28"


@contextmanager
def proxied(folder: Path, ports: Sequence[int]) -> Generator[int]:
    """deploy/haproxy.cfg before these servers, without TLS and Docker's names."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")  # where Debian has it, and not every PATH
    if program is None:
        pytest.skip("no haproxy on this machine; the system's package brings one")
    port = free_port()
    kept: list[str] = []
    for line in (ROOT / "deploy" / "haproxy.cfg").read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("bind "):
            kept.append(f"    bind 127.0.0.1:{port}")
        elif line.strip().startswith("server-template "):
            kept += [f"    server s{number} 127.0.0.1:{each}" for number, each in enumerate(ports)]
        elif "resolvers docker" not in line and "nameserver" not in line and "hold valid" not in line:
            kept.append(line)
    file = folder / "haproxy.cfg"
    file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    subprocess.run([program, "-c", "-f", str(file)], check=True, capture_output=True)
    with subprocess.Popen([program, "-f", str(file)], stdout=subprocess.DEVNULL) as proxy:
        try:
            yield port
        finally:
            proxy.terminate()


async def test_behind_the_proxy_both_eras_work(tmp_path: Path, it: Fleet) -> None:
    with proxied(tmp_path, it.ports) as port:
        await _seconds_until(lambda: _status(f"http://127.0.0.1:{port}/healthz") == 200)
        for era in ERAS:
            session = None
            for _ in range(4):
                async with Client(f"http://127.0.0.1:{port}/mcp", mode=era) as client:
                    for _ in range(2):
                        asked = {**QUESTION, "session_id": session} if session else QUESTION
                        session = data_of(await client.call_tool("route_and_answer", asked))["session_id"]
        assert _status(f"http://127.0.0.1:{port}/metrics") == 404


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=1).status_code
    except httpx.HTTPError:
        return 0


async def test_closed_refuses_while_the_database_hangs_and_everything_settles(it: Fleet) -> None:
    answered, refused = await hang_under_load(it)
    assert answered
    assert refused
    assert all("The store does not answer" in text and "Trying again" in text for text in refused)


async def test_open_answers_while_the_database_hangs_and_everything_settles(tmp_path: Path, database: Postgres) -> None:
    with fleet(tmp_path, database, POINTSMAN_STORE_OUTAGE="open") as it:
        answered, refused = await hang_under_load(it)
    assert not refused
    assert any("no budget was checked" in notice for answer in answered for notice in answer["notices"])


async def hang_under_load(it: Fleet, seconds: float = 1) -> tuple[list[dict[str, Any]], list[str]]:
    """Have the database hang under two callers at each server, for so long after both servers have found out.

    What was answered, and why others were not.
    """
    outcomes: list[tuple[bool, CallToolResult]] = []
    slowest = 0.0
    is_back, is_over = anyio.Event(), anyio.Event()
    away = 0.0
    before = it.in_database("SELECT count(*), coalesce(sum(cost_microusd), 0) FROM pointsman.routes")

    async def load(place: int) -> None:
        nonlocal slowest
        async with it.host(place) as client:
            while not is_over.is_set():
                begun, came_back = time.monotonic(), is_back.is_set()
                result = await client.call_tool("route_and_answer", {**QUESTION, "max_tokens": 300})
                slowest = max(slowest, time.monotonic() - begun)
                outcomes.append((came_back, result))
                if sum(back and not result.is_error for back, result in outcomes) >= 8:
                    is_over.set()
                await anyio.sleep(0.05)

    with anyio.fail_after(90):
        async with anyio.create_task_group() as group:
            for place in (0, 1, 0, 1):
                group.start_soon(load, place)
            await _seconds_until(lambda: len(outcomes) > 8)
            it.database.stopped()
            try:
                away = seconds + await _seconds_until(lambda: all(_AWAY in log.read_text() for log in it.logs))
                await anyio.sleep(seconds)
            finally:
                it.database.continued()
            is_back.set()

    answered = [data_of(result) for _, result in outcomes if not result.is_error]
    await _seconds_until(lambda: all("the store answers again" in log.read_text() for log in it.logs))
    assert [log.read_text().count(_AWAY) for log in it.logs] == [1, 1]
    after = it.in_database(
        "SELECT count(*), coalesce(sum(cost_microusd), 0) FROM pointsman.routes WHERE outcome = 'completed'"
    )
    assert after[1] - before[1] == round(1e6 * sum(answer["actual_cost_usd"] for answer in answered))
    # what a dying connection reserved for nobody is freed when its lease is over
    await _seconds_until(lambda: it.swept() == 0, at_most=LEASE_SECONDS + 30)
    assert it.in_database("SELECT sum(spent_microusd) FROM pointsman.budgets") == (after[1],)
    assert slowest < away + 6  # who found out waited two seconds for each of a few answers
    return answered, [text_of(result) for _, result in outcomes if result.is_error]


def test_no_redis_and_no_psycopg_are_imported_where_nobody_asked_for_them() -> None:
    wanted = "import server, sys; print([name for name in ('redis', 'psycopg', 'psycopg_pool') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", wanted], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
