"""DuckDuckGo under the real `ddgs` package, whose HTTP client is replaced."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from tools.searching.duckduckgo import DuckDuckGo
from tools.searching.results import EngineFailed, Found, Freshness

pytest.importorskip("ddgs", reason="the extra duckduckgo is not installed")
import primp

pytestmark = pytest.mark.anyio
PAGE = """<html><body><div class="serp__results"><div id="links" class="results">
<div class="result results_links results_links_deep web-result"><div class="links_main links_deep result__body">
 <h2 class="result__title"><a class="result__a" href="https://rail.example/points">Points &amp; <b>switches</b></a></h2>
 <a class="result__snippet" href="https://rail.example/points">What a <b>pointsman</b> sets.</a></div></div>
<div class="result result--ad"><div class="links_main result__body">
 <h2 class="result__title"><a class="result__a" href="https://duckduckgo.com/y.js?ad_domain=x">Buy points</a></h2>
 <a class="result__snippet" href="https://duckduckgo.com/y.js?ad_domain=x">An advertisement.</a></div></div>
</div></div></body></html>"""
NOTHING = '<html><body><div class="serp__results"><div class="no-results">No results.</div></div></body></html>'


@dataclass(slots=True)
class Reply:
    status_code: int
    text: str
    content: bytes = b""


@dataclass(slots=True)
class Robot:
    """Stands in for ``primp.Client``: the wire below ``ddgs``."""

    reply: Reply | Exception = field(default_factory=lambda: Reply(200, PAGE))
    sent: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    made: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    gate: threading.Event | None = None

    def __call__(self, **options: object) -> Robot:
        self.made.append(options)
        return self

    def headers_update(self, _headers: object) -> None:
        pass

    def request(self, method: str, url: str, **options: object) -> Reply:
        if self.gate:
            self.gate.wait(10)
        self.sent.append({"method": method, "url": url, **options})
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Generator[Robot]:
    standing_in = Robot()
    monkeypatch.setattr(primp, "Client", standing_in)
    yield standing_in
    if standing_in.gate:
        standing_in.gate.set()


async def test_the_result_page_is_read_without_advertisements(robot: Robot) -> None:
    answer = await DuckDuckGo().search("railway points", 5, None)

    assert answer.results == (
        Found(
            title="Points & switches",
            url="https://rail.example/points",
            snippet="What a pointsman sets.",
            age=None,
            source="rail.example",
        ),
    )
    assert (answer.engine, answer.cost_microusd, answer.notices) == ("duckduckgo", 0, ())


@pytest.mark.parametrize(
    ("freshness", "sent"), [(None, None), ("day", "d"), ("week", "w"), ("month", "m"), ("year", "y")]
)
async def test_it_asks_for_all_regions_within_ten_seconds(
    robot: Robot, freshness: Freshness | None, sent: str | None
) -> None:
    await DuckDuckGo().search("railway points", 5, freshness)

    (request,) = robot.sent
    asked = {"q": "railway points", "b": "", "l": "wt-wt"}
    assert request["data"] == ({**asked, "df": sent} if sent else asked)
    assert robot.made[0]["timeout"] == 10
    assert robot.made[0]["proxy"] is None


async def test_a_page_without_results_is_an_empty_answer(robot: Robot) -> None:
    robot.reply = Reply(200, NOTHING)

    assert (await DuckDuckGo().search("qzxv", 5, None)).results == ()


@pytest.mark.parametrize("status", [202, 403, 429])
async def test_being_turned_away_is_a_failure_and_it_rests(robot: Robot, status: int) -> None:
    robot.reply = Reply(status, "<html>Unfortunately, bots use DuckDuckGo too.</html>")

    with pytest.raises(EngineFailed, match="turned the request away") as caught:
        await DuckDuckGo().search("q", 5, None)
    assert caught.value.retryable
    assert caught.value.rest_seconds == 60


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (primp.TimeoutError("operation timed out"), "no answer within 10 s"),
        (primp.ConnectError("no route"), "cannot be reached"),
        (Reply(200, "   "), "cannot be reached or read"),
    ],
)
async def test_what_goes_wrong_below_is_a_failure_worth_another_try(
    robot: Robot, reply: Reply | Exception, says: str
) -> None:
    robot.reply = reply

    with pytest.raises(EngineFailed, match=says) as caught:
        await DuckDuckGo().search("q", 5, None)
    assert caught.value.retryable


async def test_a_thread_that_hangs_is_left_behind(robot: Robot) -> None:
    robot.gate = threading.Event()

    with pytest.raises(EngineFailed, match="no answer within"):
        await DuckDuckGo(longest_seconds=0.01).search("q", 5, None)
    assert robot.sent == []


async def test_a_long_query_is_cut_with_a_notice(robot: Robot) -> None:
    answer = await DuckDuckGo().search(" ".join(["points"] * 100), 5, None)

    assert len(answer.query) <= 450
    assert "duckduckgo takes shorter queries" in answer.notices[0]
