"""What is particular to one engine: its question on the wire, its limits, its ways to fail."""

from __future__ import annotations

import base64

import httpx2 as httpx
import pytest

from routing.errors import SettingsError
from tests.tools.searching.dialects import BRAVE, BRAVE_PAGE, CANARY, EXA, EXA_PAGE, SEARXNG, TAVILY, Server, answering
from tools.searching.brave import rest_of
from tools.searching.results import EngineFailed, Freshness
from tools.searching.searxng import SearXNG, address_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("freshness", "sent"), [(None, None), ("day", "pd"), ("week", "pw"), ("month", "pm"), ("year", "py")]
)
async def test_brave_is_asked_for_pages_without_decorations(freshness: Freshness | None, sent: str | None) -> None:
    server = answering(BRAVE.full)

    await BRAVE.make(server.wire).search("railway points", 7, freshness)

    (request,) = server.requests
    assert request.method == "GET"
    assert str(request.url.copy_with(query=None)) == "https://api.search.brave.com/res/v1/web/search"
    params = dict(request.url.params)
    assert params.pop("freshness", None) == sent
    assert params == {"q": "railway points", "count": "7", "result_filter": "web", "text_decorations": "false"}


async def test_brave_is_asked_fifty_words_at_most() -> None:
    server = answering(BRAVE.full)

    answer = await BRAVE.make(server.wire).search(" ".join("abc"[: i % 3 + 1] for i in range(60)), 5, None)

    assert len(server.requests[0].url.params["q"].split()) == 50
    assert answer.notices


async def test_a_query_of_exactly_braves_limits_is_asked_whole() -> None:
    query = " ".join(["seven77"] * 50) + "x"
    assert len(query) == 400

    answer = await BRAVE.make(answering(BRAVE.full).wire).search(query, 5, None)

    assert (answer.query, answer.notices) == (query, ())


async def test_brave_without_an_age_tells_the_date_of_the_page() -> None:
    page = {name: value for name, value in BRAVE_PAGE.items() if name != "age"}
    answer = await BRAVE.make(answering({"type": "search", "web": {"results": [page]}}).wire).search("q", 5, None)

    assert answer.results[0].age == "2026-11-18T09:12:00"


async def test_a_422_of_brave_points_at_the_key() -> None:
    body = {"type": "ErrorResponse", "error": {"code": "SUBSCRIPTION_TOKEN_INVALID", "status": 422}}
    with pytest.raises(EngineFailed, match="check BRAVE_API_KEY"):
        await BRAVE.make(answering(body, 422).wire).search("q", 5, None)


@pytest.mark.parametrize(
    ("left", "reset", "seconds"),
    [
        ("0, 1000", "1, 1419704", 1.0),
        ("0, 0", "1, 1419704", 1_419_704.0),
        ("1, 1000", "1, 1419704", None),
        ("x", "", None),
    ],
)
def test_brave_rests_until_the_limit_that_is_used_up_is_renewed(left: str, reset: str, seconds: float | None) -> None:
    assert rest_of({"x-ratelimit-remaining": left, "x-ratelimit-reset": reset}) == seconds


async def test_a_rate_limit_of_brave_rests_as_its_own_headers_say() -> None:
    server = answering({}, 429, x_ratelimit_remaining="0, 900", x_ratelimit_reset="1, 1419704")

    with pytest.raises(EngineFailed) as caught:
        await BRAVE.make(server.wire).search("q", 5, None)

    assert caught.value.rest_seconds == 1


@pytest.mark.parametrize("freshness", [None, "day", "week", "month", "year"])
async def test_tavily_is_asked_for_a_basic_search(freshness: Freshness | None) -> None:
    server = answering(TAVILY.full)

    await TAVILY.make(server.wire).search("railway points", 7, freshness)

    asked = {"query": "railway points", "max_results": 7, "search_depth": "basic"}
    assert server.body() == ({**asked, "time_range": freshness} if freshness else asked)
    assert server.requests[0].method == "POST"
    assert str(server.requests[0].url) == "https://api.tavily.com/search"


@pytest.mark.parametrize("status", [432, 433])
async def test_a_plan_of_tavily_that_is_used_up_is_told_apart_from_a_rate_limit(status: int) -> None:
    with pytest.raises(EngineFailed, match="used up") as caught:
        await TAVILY.make(answering({"detail": {"error": "This request exceeds your plan"}}, status).wire).search(
            "q", 5, None
        )

    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("freshness", "since"),
    [
        (None, None),
        ("day", "2026-11-20T12:30:00.000Z"),
        ("week", "2026-11-14T12:30:00.000Z"),
        ("month", "2026-10-21T12:30:00.000Z"),
        ("year", "2025-11-21T12:30:00.000Z"),
    ],
)
async def test_exa_is_asked_for_highlights_since_a_date(freshness: Freshness | None, since: str | None) -> None:
    server = answering(EXA.full)

    await EXA.make(server.wire).search("railway points", 7, freshness)

    body = server.body()
    assert body.pop("startPublishedDate", None) == since
    assert body == {
        "query": "railway points",
        "numResults": 7,
        "type": "auto",
        "contents": {"highlights": {"maxCharacters": 1_000}},
    }
    assert str(server.requests[0].url) == "https://api.exa.ai/search"


@pytest.mark.parametrize(
    ("told", "booked"),
    [
        ({"costDollars": {"total": 0.005}}, 5_000),
        ({"costDollars": {"total": 0.0000005}}, 1),  # half up
        ({"costDollars": {"total": 0}}, 0),
        ({"costDollars": None}, 7_000),
        ({}, 7_000),
    ],
)
async def test_what_exa_says_it_cost_is_booked_to_the_micro_dollar(told: dict[str, object], booked: int) -> None:
    answer = await EXA.make(answering({"results": [], **told}).wire).search("q", 5, None)

    assert answer.cost_microusd == booked


@pytest.mark.parametrize("total", ["-0.01", "1e999", "NaN", '"much"', "1000000"])
async def test_a_cost_that_cannot_be_one_is_refused(total: str) -> None:
    server = Server(lambda _: httpx.Response(200, text=f'{{"results": [], "costDollars": {{"total": {total}}}}}'))
    with pytest.raises(EngineFailed, match="not what its API promises"):
        await EXA.make(server.wire).search("q", 5, None)


async def test_exa_without_highlights_gives_the_text() -> None:
    page = {**EXA_PAGE, "highlights": None, "text": "The whole page."}
    answer = await EXA.make(answering({"results": [page]}).wire).search("q", 5, None)

    assert answer.results[0].snippet == "The whole page."


@pytest.mark.parametrize("freshness", [None, "day", "week", "month", "year"])
async def test_searxng_is_asked_for_json_at_its_address(freshness: Freshness | None) -> None:
    server = answering(SEARXNG.full)

    await SEARXNG.make(server.wire).search("railway points", 7, freshness)

    (request,) = server.requests
    asked = {"q": "railway points", "format": "json"}
    assert dict(request.url.params) == ({**asked, "time_range": freshness} if freshness else asked)
    assert str(request.url.copy_with(query=None)) == "http://search.example:8080/search"


@pytest.mark.parametrize("unresponsive", [[["google", "timeout"]], ["google"], [["google", "timeout"], "bing"]])
async def test_searxng_none_of_whose_engines_answered_has_failed(unresponsive: list[object]) -> None:
    with pytest.raises(EngineFailed, match="none of its own engines answered") as caught:
        await SEARXNG.make(answering({**SEARXNG.empty, "unresponsive_engines": unresponsive}).wire).search("q", 5, None)

    assert caught.value.retryable


async def test_a_403_of_searxng_is_most_likely_its_formats() -> None:
    with pytest.raises(EngineFailed, match=r"json among search\.formats"):
        await SEARXNG.make(answering({}, 403).wire).search("q", 5, None)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080/search"),
        ("https://host.example/searx/", "https://host.example/searx/search"),
        ("https://host.example/search", "https://host.example/search"),
        ("http://[::1]:8080/?q=x#y", "http://[::1]:8080/search"),
    ],
)
def test_an_address_of_searxng_may_be_written_with_and_without_its_path(address: str, url: str) -> None:
    assert address_of(address) == (url, None)


async def test_the_credentials_of_searxng_go_into_a_header_and_are_percent_decoded() -> None:
    server = answering(SEARXNG.empty)

    await SearXNG(server.wire, "http://us%40er:p%3Aw@host.example/").search("q", 5, None)

    expected = base64.b64encode(b"us@er:p:w").decode()
    assert server.requests[0].headers["authorization"] == f"Basic {expected}"
    assert server.requests[0].url.userinfo == b""


@pytest.mark.parametrize(
    "address",
    [
        "search.example",
        "ftp://x:{}@host",
        "http://",
        "http://x:{}@",
        "http://x:{}@host:0",
        "http://x:{}@host:port",
        "http://[x:{}@",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_its_password(address: str) -> None:
    with pytest.raises(SettingsError, match="SEARXNG_URL is no address") as caught:
        address_of(address.format(CANARY))

    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
