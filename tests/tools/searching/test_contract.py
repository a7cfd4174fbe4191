"""One suite over every engine that is asked over HTTP."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncGenerator

import anyio
import httpx2 as httpx
import pytest

from tests.tools.searching.dialects import CANARY, DIALECTS, Answer, Dialect, Server, answering
from tools.searching.results import EngineFailed
from tools.searching.wire import MOST_BYTES, Wire

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)]


async def failure(dialect: Dialect, wire: Wire) -> EngineFailed:
    with pytest.raises(EngineFailed) as caught:
        await dialect.make(wire).search("railway points", 5, "week")
    return caught.value


async def test_a_full_answer_is_read_and_costs_what_the_engine_asks(dialect: Dialect) -> None:
    answer = await dialect.make(answering(dialect.full).wire).search("railway points", 5, None)

    assert answer.results == dialect.expected
    assert answer.engine == dialect.name
    assert answer.query == "railway points"
    assert answer.cost_microusd == dialect.cost_microusd
    assert answer.notices == ()


async def test_nothing_found_is_an_answer(dialect: Dialect) -> None:
    answer = await dialect.make(answering(dialect.empty).wire).search("qzxv", 5, None)

    assert answer.results == ()
    assert answer.cost_microusd == dialect.cost_microusd


async def test_no_more_results_are_given_than_were_asked_for(dialect: Dialect) -> None:
    answer = await dialect.make(answering(dialect.full).wire).search("railway points", 1, None)

    assert answer.results == dialect.expected[:1]


async def test_a_query_that_is_too_long_is_cut_at_a_word_with_a_notice(dialect: Dialect) -> None:
    server = answering(dialect.full)
    query = " ".join(["points"] * 400)

    answer = await dialect.make(server.wire).search(query, 5, None)

    assert query.startswith(f"{answer.query} points")
    sent = server.requests[0]
    assert answer.query in (sent.url.params.get("q"), sent.content and server.body()["query"])
    assert len(answer.notices) == 1
    assert f"{dialect.name} takes shorter queries" in answer.notices[0]


@pytest.mark.parametrize(
    ("status", "retryable", "says"),
    [
        (400, False, "refused"),
        (401, False, "401"),
        (403, False, "403"),
        (404, False, "404"),
        (422, False, "refused"),
        (429, True, "rate limit"),
        (500, True, "server error"),
        (503, True, "server error"),
        (302, False, "redirects"),
    ],
)
async def test_a_status_says_what_is_wrong_and_whether_a_retry_helps(
    dialect: Dialect, status: int, says: str, *, retryable: bool
) -> None:
    failed = await failure(dialect, answering({"detail": "no"}, status, location="https://elsewhere.example/").wire)

    assert failed.retryable is retryable
    assert says in str(failed)


async def test_a_refused_key_is_named_by_its_variable(dialect: Dialect) -> None:
    failed = await failure(dialect, answering({}, 401).wire)

    assert ("SEARXNG_URL" if dialect.name == "searxng" else f"{dialect.name.upper()}_API_KEY") in str(failed)


@pytest.mark.parametrize(
    ("headers", "rest_seconds"),
    [({"retry_after": "7"}, 7.0), ({}, 10.0), ({"retry_after": "99999"}, 3_600.0), ({"retry_after": "soon"}, 10.0)],
)
async def test_a_rate_limit_says_how_long_to_rest(
    dialect: Dialect, headers: dict[str, str], rest_seconds: float
) -> None:
    failed = await failure(dialect, answering({}, 429, **headers).wire)

    assert failed.rest_seconds == rest_seconds


async def test_an_overloaded_engine_rests_only_where_it_says_so(dialect: Dialect) -> None:
    assert (await failure(dialect, answering({}, 503).wire)).rest_seconds == 0
    assert (await failure(dialect, answering({}, 503, retry_after="3").wire)).rest_seconds == 3
    assert (await failure(dialect, answering({}, 401, retry_after="3").wire)).rest_seconds == 0


@pytest.mark.parametrize(
    "content", [b"", b"<html>Just a moment...</html>", b"[]", b'"no"', b'{"results": [', b"\xff\xfe{}"]
)
async def test_what_is_not_the_json_of_its_api_is_a_failure(dialect: Dialect, content: bytes) -> None:
    failed = await failure(dialect, Server(lambda _: httpx.Response(200, content=content)).wire)

    assert "not what its API promises" in str(failed)


async def test_fields_of_a_wrong_type_are_a_failure(dialect: Dialect) -> None:
    failed = await failure(dialect, answering(dialect.wrong_type).wire)

    assert "not what its API promises" in str(failed)


async def test_an_answer_without_an_end_is_cut_off(dialect: Dialect) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 100_000

    failed = await failure(dialect, Server(lambda _: httpx.Response(200, content=endless())).wire)

    assert "larger than 2 MB" in str(failed)
    assert sent * 100_000 <= MOST_BYTES + 200_000


async def test_an_engine_that_never_answers_is_given_up(dialect: Dialect) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.fail_after(2):
        failed = await failure(dialect, Wire(transport=httpx.MockTransport(hang), longest_seconds=0.01))

    assert failed.retryable
    assert "no answer within" in str(failed)


@pytest.mark.parametrize(
    "error", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError]
)
async def test_a_broken_connection_is_worth_another_try(dialect: Dialect, error: type[httpx.TransportError]) -> None:
    failed = await failure(dialect, Server(_raising(error)).wire)

    assert failed.retryable


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 422, 429, 432, 500])
async def test_the_key_is_sent_and_stands_in_no_error_or_log(
    dialect: Dialect, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    echo = {
        "error": f"{CANARY} is wrong",
        "results": [{"url": CANARY, "title": [CANARY]}],
        "type": CANARY,
        "web": CANARY,
    }
    server = answering(echo, status, location=f"https://elsewhere.example/?key={CANARY}")
    with caplog.at_level(logging.DEBUG):
        failed = await failure(dialect, server.wire)

    (request,) = server.requests
    assert _credential(request) == CANARY
    assert CANARY not in str(request.url)
    assert CANARY not in "".join(traceback.format_exception(failed))
    assert CANARY not in caplog.text


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout])
async def test_the_key_stands_in_no_error_of_the_connection(
    dialect: Dialect, error: type[httpx.TransportError]
) -> None:
    assert CANARY not in str(await failure(dialect, Server(_raising(error)).wire))


async def test_the_credentials_show_in_no_printed_form(dialect: Dialect) -> None:
    engine = dialect.make(answering({}).wire)
    assert CANARY not in repr(vars(engine))


def _credential(request: httpx.Request) -> str:
    headers = request.headers
    if authorization := headers.get("authorization"):
        basic = httpx.BasicAuth("reader", CANARY)
        expected = next(basic.auth_flow(httpx.Request("GET", "http://x"))).headers["authorization"]
        return CANARY if authorization in (f"Bearer {CANARY}", expected) else authorization
    return headers.get("x-subscription-token") or headers.get("x-api-key") or ""


def _raising(error: type[httpx.TransportError]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error(f"all attempts failed for {CANARY}", request=request)

    return answer
