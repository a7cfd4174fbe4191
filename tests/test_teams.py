"""A server for a team, as a process over real HTTP: who gets in, what callers see of each other, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2 as httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent, TextResourceContents

import server
import serving
from access.tokens import TokenFile
from routing.errors import SettingsError
from routing.settings import Settings, load_settings
from tests.host import ERAS, Era
from tests.test_transports import environment, free_port
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
QUESTION = {"prompt": "What is the capital of France?", "force_model": "openai/gpt-4.1"}
RESOURCE = "https://mcp.test/mcp"
KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
HANDLE = re.compile(r"_ids?$")


class _Keys(BaseHTTPRequestHandler):
    """The page on which an authorization server publishes its keys."""

    def do_GET(self) -> None:
        row = {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": [row]}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A server that runs, with two callers' tokens."""

    port: int
    home: Path
    log: Path
    tokens: Mapping[str, str]
    issuer: str
    upstream: Upstream
    process: subprocess.Popen[bytes]

    def url(self, path: str = "/mcp") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url(path), headers=headers, follow_redirects=False)

    def signed(self, **claims: Any) -> str:
        full = {"iss": self.issuer, "aud": RESOURCE, "sub": "ann", "exp": time.time() + 60, **claims}
        return jwt.encode(full, KEY, "RS256", headers={"kid": "1"})

    @asynccontextmanager
    async def host(self, token: str, era: Era = "auto") -> AsyncGenerator[Client]:
        headers = {"authorization": f"Bearer {token}"}
        if self.transport == "sse":
            async with Client(sse_client(self.url("/sse"), headers=headers), mode=era) as connected:
                yield connected
            return
        async with (
            httpx.AsyncClient(headers=headers, timeout=60) as client,
            Client(streamable_http_client(self.url(), http_client=client), mode=era) as connected,
        ):
            yield connected

    transport: str = "streamable-http"


@contextmanager
def team(folder: Path, transport: str = "streamable-http", **settings: str) -> Generator[Team]:
    home, log = folder / "home", folder / "log"
    file = TokenFile(home / "tokens.json")
    tokens = {name: file.add(name, 1.0) for name in ("ann", "bob")}
    with Upstream() as upstream, ThreadingHTTPServer(("127.0.0.1", 0), _Keys) as keys, log.open("wb") as stderr:
        threading.Thread(target=keys.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        issuer = f"http://127.0.0.1:{keys.server_port}"
        port = free_port()  # not before the keys and the models have theirs: a port that is free is given away again
        env = {
            **environment(home, upstream),
            "POINTSMAN_AUTH": "tokens,oauth",
            "POINTSMAN_OAUTH_ISSUER": issuer,
            "POINTSMAN_OAUTH_JWKS_URL": f"{issuer}/keys",
            "POINTSMAN_OAUTH_RESOURCE": RESOURCE,
            "POINTSMAN_MONTHLY_BUDGET_USD": "1",
            "POINTSMAN_ALL_CALLERS_MONTHLY_BUDGET_USD": "1",
            "POINTSMAN_LOG_LEVEL": "DEBUG",
            **settings,
        }
        command = [sys.executable, str(Path(server.__file__)), "--transport", transport, "--port", str(port)]
        with subprocess.Popen(command, env=env, stderr=stderr) as process:
            try:
                _wait_for(port, process)
                yield Team(
                    port=port,
                    home=home,
                    log=log,
                    tokens=tokens,
                    issuer=issuer,
                    upstream=upstream,
                    process=process,
                    transport=transport,
                )
            finally:
                process.terminate()
                process.wait(timeout=40)
                keys.shutdown()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Generator[Team]:
    with team(tmp_path_factory.mktemp("team")) as running:
        yield running


def data_of(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, said(result)
    return dict(result.structured_content or {})


def said(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


# ── Who gets in ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/mcp", "/dashboard", "/dashboard/data", "/metrics", "/readyz", "/nowhere"])
@pytest.mark.parametrize(
    "credential",
    [None, "Bearer", "Bearer pm_" + "x" * 43, "Basic YW5uOmJvYg==", "Bearer ' OR 1=1--", "Bearer \u00e9\u00ff", "pm_"],
)
def test_without_a_token_that_counts_every_page_is_refused_alike(it: Team, path: str, credential: str | None) -> None:
    headers = {} if credential is None else {"authorization": credential.encode("latin-1").decode("latin-1")}
    answer = httpx.get(it.url(path), headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()])

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert (
        'resource_metadata="https://mcp.test/.well-known/oauth-protected-resource/mcp"'
        in (answer.headers["www-authenticate"])
    )


def test_whether_the_process_lives_anybody_may_ask(it: Team) -> None:
    assert it.get("/healthz").status_code == 200


def test_the_metadata_of_the_resource_is_everybodys(it: Team) -> None:
    answer = it.get("/.well-known/oauth-protected-resource/mcp")

    assert answer.status_code == 200
    assert answer.json()["resource"] == RESOURCE
    assert answer.json()["authorization_servers"] == [it.issuer]


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/data?period=all", "/metrics", "/readyz"])
def test_with_a_token_the_pages_are_shown(it: Team, path: str) -> None:
    assert it.get(path, authorization=f"Bearer {it.tokens['ann']}").status_code == 200


@pytest.mark.parametrize("path", ["/mcp", "/metrics", "/dashboard"])
def test_a_foreign_host_is_turned_away_with_a_token_too(it: Team, path: str) -> None:
    answer = it.get(path, authorization=f"Bearer {it.tokens['ann']}", host="evil.test")

    assert answer.status_code in (400, 421)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("how", ["tokens", "oauth"])
async def test_a_call_with_a_credential_is_answered(it: Team, era: Era, how: str) -> None:
    token = it.tokens["ann"] if how == "tokens" else it.signed()
    async with it.host(token, era) as host:
        assert data_of(await host.call_tool("route_and_answer", QUESTION))["response"] == "Paris."


def test_a_token_of_the_issuer_for_somebody_else_is_refused(it: Team) -> None:
    assert it.get("/metrics", authorization=f"Bearer {it.signed()}").status_code == 200
    for wrong in (it.signed(aud="https://other.test"), it.signed(exp=time.time() - 3_600), it.signed(iss="https://x")):
        assert it.get("/metrics", authorization=f"Bearer {wrong}").status_code == 401


def test_a_token_that_is_revoked_is_refused_without_a_restart(it: Team) -> None:
    file = TokenFile(it.home / "tokens.json")
    token = file.add("carl", 1.0)
    assert it.get("/metrics", authorization=f"Bearer {token}").status_code == 200

    file.revoke("carl")

    assert it.get("/metrics", authorization=f"Bearer {token}").status_code == 401


async def test_over_sse_too_only_a_token_opens_and_callers_are_apart(tmp_path: Path) -> None:
    with team(tmp_path, "sse", POINTSMAN_LOG_LEVEL="WARNING") as it:
        assert it.get("/sse").status_code == 401
        assert httpx.post(it.url("/messages/")).status_code == 401
        async with it.host(it.tokens["ann"]) as ann, it.host(it.tokens["bob"]) as bob:
            session = data_of(await ann.call_tool("route_and_answer", QUESTION))["session_id"]
            foreign = await bob.call_tool("route_and_answer", {**QUESTION, "session_id": session})
            assert foreign.is_error
            assert data_of(await bob.call_tool("usage_report", {"period": "all"}))["totals"]["tasks"] == 1


# ── What callers see of each other ────────────────────────────────────────────────────────────────────────────────────


async def a_session(ann: Client) -> str:
    return str(data_of(await ann.call_tool("route_and_answer", QUESTION))["session_id"])


async def a_route(ann: Client) -> str:
    return str(data_of(await ann.call_tool("route_and_answer", {**QUESTION, "detach": True}))["route_id"])


async def a_batch(ann: Client) -> str:
    return str(
        data_of(await ann.call_tool("route_batch", {"prompts": ["Hi"], "force_model": "openai/gpt-4.1"}))["batch_id"]
    )


async def memories(ann: Client) -> list[str]:
    return list(data_of(await ann.call_tool("memory_store", {"text": "Ann likes trains"}))["memory_ids"])


async def a_code_session(ann: Client) -> str:
    result = await ann.call_tool("execute_python", {"code": "x = 1", "session_id": "new"})
    if result.is_error:
        pytest.skip(f"no sandbox holds here: {said(result)}")
    return str(data_of(result)["session_id"])


Handle = str | list[str]
MADE: Mapping[tuple[str, str], Callable[[Client], Any]] = {
    ("route_and_answer", "session_id"): a_session,
    ("get_answer", "route_id"): a_route,
    ("record_feedback", "route_id"): a_route,
    ("route_batch", "batch_id"): a_batch,
    ("memory_delete", "memory_ids"): memories,
    ("execute_python", "session_id"): a_code_session,
}
"""How the owner comes by a handle, for every argument of a tool that takes one."""

NEEDED: Mapping[str, Mapping[str, Any]] = {
    "route_and_answer": QUESTION,
    "record_feedback": {"score": 1},
    "execute_python": {"code": "x"},
}


async def test_every_argument_that_names_a_handle_is_in_the_table() -> None:
    listed = {
        (tool.name, name)
        for tool in await server.mcp.list_tools()
        for name in tool.input_schema["properties"]
        if HANDLE.search(name)
    }
    assert listed == MADE.keys()


def unknown(handle: Handle) -> Handle:
    """One of the same form that nobody has."""
    if isinstance(handle, list):
        return [str(unknown(one)) for one in handle]
    kind, _, rest = handle.partition("_")
    return f"{kind}_{rest[::-1]}"


def without(result: CallToolResult, handle: Handle) -> str:
    """All that a result says, the handle itself left out."""
    text = result.model_dump_json()
    for one in [handle] if isinstance(handle, str) else handle:
        text = text.replace(one, "HANDLE")
    return text


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("tool", "argument"), MADE, ids=str)
async def test_anothers_handle_answers_exactly_as_an_unknown_one(it: Team, era: Era, tool: str, argument: str) -> None:
    async with it.host(it.tokens["ann"], era) as ann, it.host(it.tokens["bob"], era) as bob:
        handle = await MADE[tool, argument](ann)
        needed = dict(NEEDED.get(tool, {}))

        foreign = await bob.call_tool(tool, {**needed, argument: handle})
        never = await bob.call_tool(tool, {**needed, argument: unknown(handle)})
        own = await ann.call_tool(tool, {**needed, argument: handle})

    assert without(foreign, handle) == without(never, unknown(handle))
    assert not own.is_error
    assert without(own, handle) != without(foreign, handle)


@pytest.mark.parametrize("era", ERAS)
async def test_anothers_answer_is_no_resource(it: Team, era: Era) -> None:
    async with it.host(it.tokens["ann"], era) as ann, it.host(it.tokens["bob"], era) as bob:
        route = await a_route(ann)
        own = (await ann.read_resource(f"answer://{route}")).contents[0]
        assert isinstance(own, TextResourceContents)
        assert own.text == "Paris."
        messages = list[str]()
        for handle in (route, str(unknown(route))):
            with pytest.raises(MCPError) as refused:
                await bob.read_resource(f"answer://{handle}")
            messages.append(str(refused.value).replace(handle, "HANDLE"))
        assert messages[0] == messages[1]


async def test_lists_searches_reports_and_keys_show_and_touch_only_ones_own(it: Team) -> None:
    async with it.host(it.signed(sub="dora")) as dora, it.host(it.signed(sub="emil")) as emil:
        await dora.call_tool("memory_store", {"text": "Dora likes trains", "key": "likes"})
        await dora.call_tool("route_and_answer", QUESTION)

        assert data_of(await emil.call_tool("memory_list", {}))["total"] == 0
        assert data_of(await emil.call_tool("memory_search", {"query": "trains"}))["memories"] == []
        assert (await emil.call_tool("memory_delete", {"key": "likes"})).is_error
        deleted = await emil.call_tool("memory_delete", {"metadata": {}, "confirm": True})
        assert data_of(deleted)["deleted"] == 0
        report = data_of(await emil.call_tool("usage_report", {"period": "all", "by": "all"}))
        assert report["totals"]["tasks"] == 0
        assert report["recent"] == []
        assert report["budgets"]["monthly"]["spent_usd"] == 0
        health = {row["model_id"]: row["health"] for row in data_of(await emil.call_tool("list_models", {}))["models"]}
        assert set(health.values()) == {None}

        own = data_of(await dora.call_tool("usage_report", {"period": "all"}))
        assert own["totals"]["tasks"] == 1
        assert own["budgets"]["monthly"]["spent_usd"] > 0
        assert data_of(await dora.call_tool("memory_list", {}))["total"] == 1


def test_the_dashboard_shows_each_caller_its_own(it: Team) -> None:
    page = it.get("/dashboard/data?period=all", authorization=f"Bearer {it.signed(sub='nobody yet')}")

    assert page.json()["totals"]["tasks"] == 0


async def test_the_same_person_is_one_caller_in_every_program(it: Team) -> None:
    async with it.host(it.signed(sub="finn", client_id="cursor")) as one:
        await one.call_tool("memory_store", {"text": "Finn likes trains"})
    async with it.host(it.signed(sub="finn", client_id="zed")) as other:
        assert data_of(await other.call_tool("memory_list", {}))["total"] == 1


async def test_a_session_of_the_older_protocol_is_its_callers(it: Team) -> None:
    async with it.host(it.tokens["ann"], "legacy") as ann:
        await ann.call_tool("list_models", {})
        opened = re.findall(r"session with transport session ID: (\w+)|session ID: (\w+)", it.log.read_text())
        session = next(part for part in opened[-1] if part)
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
        headers = {"mcp-session-id": session, "accept": "application/json, text/event-stream"}

        foreign = httpx.post(it.url(), json=message, headers={**headers, "authorization": f"Bearer {it.tokens['bob']}"})

    assert foreign.status_code == 404


async def test_tokens_go_nowhere(it: Team) -> None:
    """Not upstream, not into the log at DEBUG, not into the database, not into results."""
    signed = it.signed(sub="gina")
    secrets = [it.tokens["ann"], signed]
    shown = ""
    for token in secrets:
        for era in ERAS:
            async with it.host(token, era) as host:
                results = [
                    await host.call_tool("route_and_answer", QUESTION),
                    await host.call_tool("get_answer", {"route_id": "rte_0"}),
                    await host.call_tool("usage_report", {"by": "all"}),
                ]
                shown += "".join(result.model_dump_json() for result in results)
    shown += it.get("/metrics", authorization=f"Bearer {secrets[0]}").text
    it.get("/metrics", authorization=f"Bearer {secrets[1]}x")
    sent = "".join(f"{request.headers} {request.body}" for request in it.upstream.requests)
    kept = b"".join(path.read_bytes() for path in it.home.rglob("*") if path.is_file()).decode("latin-1")

    for secret in (*secrets, secrets[0].removeprefix("pm_"), signed.rpartition(".")[2]):
        assert secret not in sent
        assert secret not in it.log.read_text(encoding="utf-8")
        assert secret not in kept
        assert secret not in shown


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_one_caller_sends_too_much_is_shed_with_a_hint_and_another_is_answered(tmp_path: Path) -> None:
    limits = {"POINTSMAN_CALLER_CONCURRENCY": "2", "POINTSMAN_CALLER_QUEUE": "2", "POINTSMAN_LOG_LEVEL": "WARNING"}
    with team(tmp_path, **limits) as it:
        it.upstream.may_answer.clear()
        results = list[CallToolResult]()
        async with it.host(it.tokens["ann"]) as ann, it.host(it.tokens["bob"], "legacy") as bob:

            async def call() -> None:
                results.append(await ann.call_tool("route_and_answer", QUESTION))

            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(call)
                while len(results) < 8:  # noqa: ASYNC110 - they arrive over the wire
                    await anyio.sleep(0.01)
                assert not data_of(await bob.call_tool("list_models", {}))["notices"]
                it.upstream.may_answer.set()

    shed = [said(result) for result in results if result.is_error]
    assert len(shed) == 8
    assert all(re.search(r"The call was not made: .* Try again in \d+ s\.", text) for text in shed)
    assert len(results) == 12


# ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def booked(home: Path) -> tuple[list[str], int, int]:
    """The outcomes of the routes, what is still reserved, and what is kept of reservations."""
    with sqlite3.connect(home / "pointsman.db") as database:
        outcomes = [row[0] for row in database.execute("SELECT outcome FROM routes")]
        [reserved] = database.execute("SELECT coalesce(sum(reserved_microusd), 0) FROM budgets").fetchone()
        [open_] = database.execute("SELECT count(*) FROM reservations").fetchone()
    return outcomes, reserved, open_


@pytest.mark.parametrize("era", ERAS)
async def test_at_sigterm_a_call_under_way_is_answered_and_booked(tmp_path: Path, era: Era) -> None:
    with team(tmp_path, POINTSMAN_LOG_LEVEL="WARNING") as it:
        it.upstream.may_answer.clear()
        results = list[CallToolResult]()
        async with it.host(it.tokens["ann"], era) as ann:
            await ann.list_tools()  # a client wants the schema of what it is answered

            async def call() -> None:
                results.append(await ann.call_tool("route_and_answer", QUESTION))

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await anyio.to_thread.run_sync(it.upstream.reached.wait)
                it.process.send_signal(signal.SIGTERM)
                await closed(it.port)
                assert it.process.poll() is None
                it.upstream.may_answer.set()
        assert data_of(results[0])["response"] == "Paris."
        assert await anyio.to_thread.run_sync(lambda: it.process.wait(timeout=30)) == 0
        assert booked(it.home) == (["completed"], 0, 0)


async def test_at_sigterm_a_call_that_does_not_end_is_cancelled_and_booked(tmp_path: Path) -> None:
    with team(tmp_path, POINTSMAN_LOG_LEVEL="WARNING", POINTSMAN_DRAIN_SECONDS="0.1") as it:
        it.upstream.hangs = True
        async with it.host(it.tokens["ann"]) as ann:

            async def call() -> None:
                with pytest.raises(MCPError):
                    await ann.call_tool("route_and_answer", QUESTION)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await anyio.to_thread.run_sync(it.upstream.reached.wait)
                it.process.send_signal(signal.SIGTERM)
                assert await anyio.to_thread.run_sync(lambda: it.process.wait(timeout=30)) == 0
        assert booked(it.home) == (["cancelled"], 0, 0)


async def closed(port: int) -> None:
    """Wait until nobody listens."""
    with anyio.fail_after(20):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                return
            await anyio.sleep(0.01)


# ── Where it listens ──────────────────────────────────────────────────────────────────────────────────────────────────

OTHERS = serving.Address(transport="streamable-http", host="0.0.0.0", port=0)  # noqa: S104 - what is refused
SAFE = {
    "POINTSMAN_BEHIND_TLS_PROXY": "true",
    "POINTSMAN_ALLOWED_HOSTS": "mcp.test",
    "POINTSMAN_AUTH": "tokens",
}


def settings(**variables: str) -> Settings:
    return load_settings(variables, Path("/nowhere"))


@pytest.mark.parametrize("left_out", [{name} for name in SAFE] + [set(SAFE)], ids=lambda names: ",".join(sorted(names)))
def test_an_address_that_others_reach_is_refused_and_says_exactly_what_is_missing(left_out: set[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        serving.check(OTHERS, settings(**{name: SAFE[name] for name in SAFE.keys() - left_out}))

    assert {name for name in SAFE if name in str(refused.value)} == left_out


def test_an_address_that_others_reach_is_served_where_all_is_set() -> None:
    serving.check(OTHERS, settings(**SAFE))


@pytest.mark.parametrize("missing", ["ISSUER", "JWKS_URL", "RESOURCE"])
@pytest.mark.parametrize("value", ["", "login.test", "http://login.test", "file:///etc/keys"])
def test_oauth_without_a_safe_address_is_refused_and_named(missing: str, value: str) -> None:
    rows = {f"POINTSMAN_OAUTH_{name}": "https://login.test/" for name in ("ISSUER", "JWKS_URL", "RESOURCE")}
    variables = {**rows, f"POINTSMAN_OAUTH_{missing}": value, "POINTSMAN_AUTH": "oauth"}

    with pytest.raises(SettingsError, match=f"needs POINTSMAN_OAUTH_{missing}"):
        serving.check(OTHERS, settings(**variables))


def test_only_the_named_hosts_and_those_of_this_machine_may_be_named() -> None:
    security = serving.security_of(settings(POINTSMAN_ALLOWED_HOSTS="mcp.test"))

    assert security.enable_dns_rebinding_protection
    assert {"mcp.test", "mcp.test:*", "127.0.0.1:*"} <= set(security.allowed_hosts)
    assert "https://mcp.test" in security.allowed_origins
    assert not [pattern for pattern in security.allowed_hosts if pattern.startswith("*")]
