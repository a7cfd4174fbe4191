"""The engines over HTTP as they look on the wire: for each one a full answer, an empty one, and how it is made."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx

from tools.searching.brave import Brave
from tools.searching.exa import Exa
from tools.searching.results import Engine, Found
from tools.searching.searxng import SearXNG
from tools.searching.tavily import Tavily
from tools.searching.wire import Wire

CANARY = "sk-canary-7f3a9c1e"
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One engine. ``wrong_type`` is the full answer with one field of a type that its API does not send."""

    name: str
    make: Callable[[Wire], Engine]
    full: Mapping[str, Any]
    empty: Mapping[str, Any]
    wrong_type: Mapping[str, Any]
    expected: tuple[Found, ...]
    cost_microusd: int


@dataclass(slots=True)
class Server:
    """Stands in for the network: answers as it is told, and keeps what it was asked."""

    answer: Answer
    requests: list[httpx.Request] = field(default_factory=list[httpx.Request])

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, httpx.Response) else await answer

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    @property
    def wire(self) -> Wire:
        return Wire(transport=self.transport)

    def body(self, number: int = 0) -> dict[str, Any]:
        """The JSON of a request."""
        read: dict[str, Any] = json.loads(self.requests[number].content)
        return read


def answering(body: object, status: int = 200, **headers: str) -> Server:
    """A server that always answers this JSON."""
    return Server(
        lambda _: httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


BRAVE_PAGE = {
    "title": "Points &amp; switches",
    "url": "https://en.wikipedia.org/wiki/Railroad_switch",
    "is_source_local": False,
    "is_source_both": False,
    "description": "A <strong>railway switch</strong> guides trains; <strong>points</strong> in Britain&#x27;s usage.",
    "page_age": "2026-11-18T09:12:00",
    "age": "3 days ago",
    "language": "en",
    "family_friendly": True,
    "type": "search_result",
    "subtype": "generic",
    "profile": {"name": "Wikipedia", "url": "https://en.wikipedia.org/", "long_name": "en.wikipedia.org"},
    "meta_url": {"scheme": "https", "netloc": "en.wikipedia.org", "hostname": "en.wikipedia.org", "path": "> wiki"},
}
BRAVE = Dialect(
    name="brave",
    make=lambda wire: Brave(wire, CANARY),
    full={
        "type": "search",
        "query": {"original": "railway points", "show_strict_warning": False, "more_results_available": True},
        "mixed": {"type": "mixed", "main": [{"type": "web", "index": 0, "all": False}], "top": [], "side": []},
        "web": {
            "type": "search",
            "results": [
                BRAVE_PAGE,
                {"title": "Pointsman", "url": "https://rail.example/pointsman", "description": "He sets the points."},
            ],
            "family_friendly": True,
        },
    },
    empty={"type": "search", "query": {"original": "qzxv", "more_results_available": False}},
    wrong_type={"type": "search", "web": {"type": "search", "results": [{**BRAVE_PAGE, "title": 7}]}},
    expected=(
        Found(
            title="Points & switches",
            url="https://en.wikipedia.org/wiki/Railroad_switch",
            snippet="A railway switch guides trains; points in Britain's usage.",
            age="3 days ago",
            source="Wikipedia",
        ),
        Found(
            title="Pointsman",
            url="https://rail.example/pointsman",
            snippet="He sets the points.",
            age=None,
            source="rail.example",
        ),
    ),
    cost_microusd=5_000,
)

TAVILY_PAGE = {
    "title": "How points work",
    "url": "https://www.rail.example/points",
    "content": "Points let a train pass from one track\nto another.",
    "score": 0.93,
    "raw_content": None,
}
TAVILY = Dialect(
    name="tavily",
    make=lambda wire: Tavily(wire, CANARY),
    full={
        "query": "railway points",
        "follow_up_questions": None,
        "answer": None,
        "images": [],
        "results": [
            TAVILY_PAGE,
            {
                "title": "New points at York",
                "url": "https://news.example/york",
                "content": "Work began.",
                "score": 0.5,
                "published_date": "Wed, 18 Nov 2026 09:12:00 GMT",
            },
        ],
        "response_time": "1.09",
        "request_id": "4c1ff0a2-0d2e-4c40-9d0c-6f1c6d2f1a55",
    },
    empty={"query": "qzxv", "answer": None, "images": [], "results": [], "response_time": 0.4},
    wrong_type={"query": "q", "results": [{**TAVILY_PAGE, "url": None}], "response_time": 1},
    expected=(
        Found(
            title="How points work",
            url="https://www.rail.example/points",
            snippet="Points let a train pass from one track to another.",
            age=None,
            source="rail.example",
        ),
        Found(
            title="New points at York",
            url="https://news.example/york",
            snippet="Work began.",
            age="Wed, 18 Nov 2026 09:12:00 GMT",
            source="news.example",
        ),
    ),
    cost_microusd=8_000,
)

EXA_PAGE = {
    "id": "https://rail.example/points",
    "title": "Points",
    "url": "https://rail.example/points",
    "publishedDate": "2026-11-16T01:36:32.000Z",
    "author": "R. Trevithick",
    "highlights": ["Points guide a train.", "A lever moves them."],
    "highlightScores": [0.46, 0.41],
}
EXA = Dialect(
    name="exa",
    make=lambda wire: Exa(wire, CANARY, now=lambda: NOW),
    full={
        "requestId": "b5947044c4b78efa9552a7c89b306d95",
        "resolvedSearchType": "neural",
        "results": [EXA_PAGE, {"id": "x", "title": None, "url": "https://rail.example/levers"}],
        "costDollars": {"total": 0.0071234, "search": {"neural": 0.007}},
    },
    empty={"requestId": "b", "resolvedSearchType": "neural", "results": [], "costDollars": {"total": 0.0071234}},
    wrong_type={"requestId": "b", "results": {"0": EXA_PAGE}},
    expected=(
        Found(
            title="Points",
            url="https://rail.example/points",
            snippet="Points guide a train. … A lever moves them.",
            age="2026-11-16T01:36:32.000Z",
            source="rail.example",
        ),
        Found(
            title="https://rail.example/levers",
            url="https://rail.example/levers",
            snippet="",
            age=None,
            source="rail.example",
        ),
    ),
    cost_microusd=7_123,
)

SEARXNG_PAGE = {
    "url": "https://rail.example/points",
    "title": "Points",
    "content": "What a pointsman sets.",
    "engine": "bing",
    "engines": ["bing", "mojeek"],
    "positions": [1, 2],
    "score": 3.0,
    "category": "general",
    "publishedDate": None,
    "template": "default.html",
    "parsed_url": ["https", "rail.example", "/points", "", "", ""],
}
SEARXNG = Dialect(
    name="searxng",
    make=lambda wire: SearXNG(wire, f"http://reader:{CANARY}@search.example:8080/"),
    full={
        "query": "railway points",
        "number_of_results": 0,
        "results": [
            SEARXNG_PAGE,
            {
                "url": "https://rail.example/levers",
                "title": "Levers",
                "content": "",
                "engine": "mojeek",
                "publishedDate": "2026-11-16T00:00:00",
            },
        ],
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": ["points and crossings"],
        "unresponsive_engines": [["google", "Suspended: CAPTCHA"]],
    },
    empty={"query": "qzxv", "results": [], "answers": [], "unresponsive_engines": []},
    wrong_type={"query": "q", "results": [{**SEARXNG_PAGE, "content": {"text": "no"}}]},
    expected=(
        Found(
            title="Points",
            url="https://rail.example/points",
            snippet="What a pointsman sets.",
            age=None,
            source="bing, mojeek",
        ),
        Found(
            title="Levers",
            url="https://rail.example/levers",
            snippet="",
            age="2026-11-16T00:00:00",
            source="mojeek",
        ),
    ),
    cost_microusd=0,
)

DIALECTS = (BRAVE, TAVILY, EXA, SEARXNG)
