"""The dashboard in a real browser: what it shows, in light and dark, narrow and empty, with a keyboard, and inside a host."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import composition
from routing.report import Period
from routing.settings import load_settings
from routing.types import LOCAL_CALLER, RouteRecord
from tests.dashboard.browser import CHROMIUM, Browser
from tests.dashboard.hundred_tasks import hundred_tasks
from tools import dashboard
from tools.base import Services
from tools.report import dashboard_data

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the PATH")
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"scheme": "dark"}, "narrow": {"width": 360}}
PNG = b"\x89PNG\r\n\x1a\n"
LEAST_BAR = 0.5
"""Pixels: what cost anything is to be seen, and be it that the day has just begun."""

HOST_PAGE = """
<!doctype html><html><head><meta charset="utf-8"><title>host</title><link rel="icon" href="data:,"></head><body>
<iframe id="view" sandbox="allow-scripts" style="width: 700px; height: 900px; border: 0"></iframe>
<script>
  const heard = [], view = document.getElementById("view");
  const read = async () => (await fetch("/dashboard/data?period=all")).json();
  const send = message => view.contentWindow.postMessage({jsonrpc: "2.0", ...message}, "*");
  window.addEventListener("message", async ({source, data}) => {
    if (source !== view.contentWindow) return;
    heard.push(data);
    if (data.method === "ui/initialize") {
      send({id: data.id, result: {protocolVersion: "2026-01-26", hostInfo: {name: "test", version: "1"},
        hostCapabilities: CAPABILITIES, hostContext: {theme: "dark"}}});
    } else if (data.method === "ui/notifications/initialized") {
      const report = await read();
      report.groups = {model: report.groups.model};
      send({method: "ui/notifications/tool-input", params: {arguments: {period: "all"}}});
      send({method: "ui/notifications/tool-result", params: {content: [], structuredContent: report}});
    } else if (data.method === "tools/call") {
      send({id: data.id, result: {content: [], structuredContent: await read()}});
    }
  });
  fetch("/page").then(page => page.text()).then(html => { view.srcdoc = html.replace("<head>", "<head>" + PROBE); });
  // the page's frame is opaque to its host: a probe inside tells what is to be seen
  const look = () => ({text: document.body.innerText, theme: document.documentElement.dataset.theme,
    controls: !document.getElementById("controls").hidden});
  const PROBE = `<script>setInterval(() => parent.postMessage({probe: (${look})()}, "*"), 50)</` + "script>";
</script></body></html>
"""


async def nothing_yet(_: Services) -> None:
    """An empty ledger."""


async def a_week_of_work(services: Services) -> None:
    """A hundred tasks an hour apart, some of them rated."""
    await record(services, hundred_tasks(time.time(), apart_seconds=3_600))
    for number, score in enumerate((0.9, 0.8, 1.0, 0.6, 0.95, 0.4)):
        await services.store.feedback.record("local", f"rte_{number * 12:03}", score)


async def record(services: Services, routes: Iterable[RouteRecord]) -> None:
    for route in routes:
        await services.store.ledger.record(route)


@contextmanager
def served(home: Path, fill: Any = a_week_of_work, capabilities: str = "{serverTools: {}}") -> Generator[str]:
    """The dashboard on loopback over a real store, and a page that plays an MCP host; gives their address."""
    started = threading.Event()
    held: list[Services] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        variables = {"POINTSMAN_LOCAL_MODEL": "off", "POINTSMAN_DISCOVER": "false"}
        async with composition.composed(load_settings(variables, home)) as services:
            await fill(services)
            held.append(services)
            started.set()
            yield

    async def read_data(_: Request, period: Period) -> str:
        return await dashboard_data(held[0], LOCAL_CALLER, period)

    async def host(_: Request) -> Response:
        return HTMLResponse(HOST_PAGE.replace("CAPABILITIES", capabilities))

    async def page(_: Request) -> Response:
        return HTMLResponse(dashboard.PAGE.read_text(encoding="utf-8"))

    routes = [*dashboard.routes(read_data), Route("/host", host), Route("/page", page)]
    with running(Starlette(routes=routes, lifespan=lifespan)) as address:
        assert started.wait(30)
        yield address


@contextmanager
def running(app: Starlette) -> Generator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=partial(uvicorn_server.run, sockets=[listening]))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        uvicorn_server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with served(tmp_path_factory.mktemp("filled")) as address:
        yield address


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with served(tmp_path_factory.mktemp("empty"), nothing_yet) as address:
        yield address


READY = 'document.querySelector("main").getAttribute("aria-busy") === "false"'
CHOOSE = "document.querySelector('input[name={}][value={}]').click()"


def open_dashboard(browser: Browser, address: str, *, period: str = "all", **appearance: Any) -> None:
    browser.look(**appearance)
    browser.open(f"{address}/dashboard")
    browser.wait_for(READY)
    browser.run(CHOOSE.format("period", period))
    browser.wait_for(f"{READY} && shown.report.period === '{period}'")


def text_of(browser: Browser) -> str:
    return str(browser.run("document.body.innerText"))


def rows_of(browser: Browser, caption: str) -> dict[str, list[str]]:
    """A table's rows by their first cell."""
    script = f"""[...document.querySelectorAll('[aria-label="{caption}"] tbody tr')]
      .map(row => [...row.children].map(cell => cell.textContent.trim()))"""
    return {row[0]: row[1:] for row in browser.run(script)}


@needs_chromium
@pytest.mark.parametrize("name", LOOKS)
def test_the_figures_of_the_ledger_are_on_the_page(browser: Browser, filled: str, tmp_path: Path, name: str) -> None:
    open_dashboard(browser, filled, **LOOKS[name])

    said = text_of(browser)
    for figure in ("$3.53", "88 % of a baseline of $4.02", "$0.4866", "95 answered, 3 failed, 2 cancelled", "of 116"):
        assert figure in said, figure
    assert "7 of 100 tasks lost money, $0.0318 in all." in said
    assert "Tier 4: mean " in said
    assert "No budget is set." in said
    models = rows_of(browser, "Figures by model")
    assert models["google/gemini-3.8-flash"][0] == "33"
    assert models["google/gemini-3.8-flash"][1] == "63 %"
    assert models["google/gemini-3.8-flash"][2:4] == ["$0.3046", "$1.84"]
    assert models["anthropic/claude-opus-4"][3] == "−$0.0210"
    assert len(rows_of(browser, "Recent decisions")) == 20
    assert not browser.complaints

    assert browser.screenshot(tmp_path / f"{name}.png").startswith(PNG)
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 26)" if name == "dark" else "rgb(245, 246, 244)")


@needs_chromium
@pytest.mark.parametrize("width", [320, 360, 768, 1100])
def test_nothing_sticks_out_of_the_page_at_any_width(browser: Browser, filled: str, width: int) -> None:
    open_dashboard(browser, filled, width=width)

    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run('document.querySelector("[data-chart=time] svg").getBoundingClientRect().right') <= width


@needs_chromium
def test_an_empty_ledger_says_what_to_do(browser: Browser, empty: str, tmp_path: Path) -> None:
    open_dashboard(browser, empty)

    said = text_of(browser)
    assert "No task has been delegated yet" in said
    assert "route_and_answer" in said
    assert "python server.py doctor" in said
    assert not browser.run("document.querySelector('main svg')")
    assert browser.screenshot(tmp_path / "empty.png").startswith(PNG)

    browser.run(CHOOSE.format("period", "hour"))
    browser.wait_for("document.body.innerText.includes('No task in this time')")


@needs_chromium
def test_the_page_asks_nobody_but_its_own_server(browser: Browser, filled: str) -> None:
    open_dashboard(browser, filled)

    browser.run("fetch('http://localhost:9/').catch(() => 0)")
    asked = [url for url in browser.requested if not url.startswith("data:")]
    assert asked
    assert all(url.startswith(f"{filled}/dashboard") for url in asked)
    assert any("Content Security Policy" in said for said in browser.complaints)


@needs_chromium
def test_the_chart_has_bars_in_proportion_and_a_table_that_says_the_same(browser: Browser, filled: str) -> None:
    open_dashboard(browser, filled)

    bars: list[list[float]] = browser.run(
        """[...document.querySelectorAll("[data-chart=time] g")].map(bar =>
          ["spent", "saved"].map(kind => Number(bar.querySelector("." + kind)?.getAttribute("height") ?? 0)))"""
    )
    points: list[list[float]] = browser.run("filledSteps(shown.report).map(step => [step.cost_usd, step.saved_usd])")
    assert len(bars) == len(points) >= 5
    heights = [height for drawn in bars for height in drawn]
    dollars = [amount for real in points for amount in real]
    per_dollar = max(heights) / max(dollars)
    assert heights == pytest.approx(
        [max(LEAST_BAR, per_dollar * amount) if amount else 0 for amount in dollars], rel=0.02
    )
    table = rows_of(browser, "Spend and savings over time")
    assert len(table) == sum(real[0] > 0 for real in points)
    label = str(browser.run('document.querySelector("[data-chart=time] svg").getAttribute("aria-label")'))
    assert "$0.4866 spent, $3.53 saved" in label


@needs_chromium
def test_nothing_is_said_by_colour_alone(browser: Browser, filled: str) -> None:
    open_dashboard(browser, filled)

    fills = browser.run('["spent", "saved"].map(kind => getComputedStyle(document.querySelector("." + kind)).fill)')
    assert "url" not in fills[0]
    assert "#hatch" in fills[1]
    pictures = browser.run(
        "[...document.querySelectorAll('main svg:not([aria-hidden])')].map(svg => svg.getAttribute('aria-label'))"
    )
    assert pictures
    assert all(pictures)
    for marked in ("▼", "failed", "fallback"):
        assert marked in text_of(browser)


@needs_chromium
def test_text_stands_out_from_its_ground_in_both_schemes(browser: Browser, filled: str) -> None:
    for scheme in ("light", "dark"):
        open_dashboard(browser, filled, scheme=scheme)
        colours = browser.run(
            """[["body", "body"], [".quiet", ".card"], [".card.first .number", ".card"], ["td.why", ".card"],
                [".notice p", ".notice"]].map(([text, ground]) => [getComputedStyle(document.querySelector(text)).color,
                                        getComputedStyle(document.querySelector(ground)).backgroundColor])"""
        )
        for text, ground in colours:
            assert contrast(text, ground) >= 4.5, (scheme, text, ground)  # WCAG 2.2, 1.4.3


def contrast(one: str, other: str) -> float:
    """The ratio of luminances (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@needs_chromium
def test_everything_can_be_done_with_the_keyboard(browser: Browser, filled: str) -> None:
    open_dashboard(browser, filled)
    focus = "document.activeElement.name || document.activeElement.id || document.activeElement.tagName.toLowerCase()"
    reached: list[str] = []
    browser.run("document.body.focus(); document.querySelector('input[name=period]:checked').focus()")
    browser.press("ArrowLeft", 37)
    browser.wait_for(f"{READY} && shown.report.period === 'month'")
    for _ in range(8):
        browser.press("Tab", 9)
        reached.append(browser.run(focus))
    assert [name for name, following in pairwise(reached) if name != following][:4] == [
        "refresh",
        "summary",
        "by",
        "div",
    ]

    browser.run("document.querySelector('input[name=by]:checked').focus()")
    for breakdown in ("provider", "tier"):
        browser.press("ArrowRight", 39)
        browser.wait_for(f"document.querySelector('[aria-label=\"Figures by {breakdown}\"]')")
        assert browser.run("document.activeElement.value") == breakdown
    outline = browser.run("getComputedStyle(document.activeElement.nextSibling).outlineWidth")
    assert outline == "3px"


@needs_chromium
def test_what_a_model_or_a_provider_wrote_is_never_markup(browser: Browser, tmp_path: Path) -> None:
    async def hostile(services: Services) -> None:
        [failed] = [route for route in hundred_tasks(time.time()) if route.route_id == "rte_093"]
        bad = replace(failed, error="<img src=x onerror='document.title=1'><script>document.title=2</script>")
        await services.store.ledger.record(bad)

    with served(tmp_path, hostile) as address:
        open_dashboard(browser, address)

        assert "<img src=x" in text_of(browser)
        assert browser.run("document.title") == "Pointsman: usage"
        assert not browser.run("document.querySelectorAll('main img, main script').length")


@needs_chromium
def test_a_server_that_went_away_is_told(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path) as address:
        open_dashboard(browser, address)
    browser.run("document.getElementById('refresh').click()")
    browser.wait_for("document.getElementById('status').textContent.startsWith('The report could not be read')")


PROBE = "heard.findLast(data => data.probe)?.probe"


@needs_chromium
def test_inside_a_host_the_page_shows_the_tools_result_and_asks_for_the_rest(
    browser: Browser, filled: str, tmp_path: Path
) -> None:
    browser.look(width=760, height=960)
    browser.open(f"{filled}/host")
    browser.wait_for(f"{PROBE}?.text.includes('Tier 4: mean')")  # the host's result had no tiers: the page asked

    heard: list[dict[str, Any]] = browser.run("heard.filter(data => data.jsonrpc)")
    methods = [message["method"] for message in heard]
    assert methods[:2] == ["ui/initialize", "ui/notifications/initialized"]
    assert heard[0]["params"]["protocolVersion"] == "2026-01-26"
    asked = next(message for message in heard if message["method"] == "tools/call")
    assert asked["params"] == {"name": "usage_report", "arguments": {"period": "all", "by": "all"}}
    sizes = [message["params"] for message in heard if message["method"] == "ui/notifications/size-changed"]
    assert sizes[-1]["height"] > 300
    probe = browser.run(PROBE)
    assert "$3.53" in probe["text"]
    assert (probe["theme"], probe["controls"]) == ("dark", True)
    assert browser.screenshot(tmp_path / "app.png").startswith(PNG)


@needs_chromium
def test_a_host_that_lets_no_page_call_tools_gets_what_the_result_has(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path, capabilities="{}") as address:
        browser.open(f"{address}/host")
        browser.wait_for(f"{PROBE}?.text.includes('$3.53')")

        assert "tools/call" not in browser.run("heard.map(data => data.method)")
        assert browser.run(PROBE)["controls"] is False


def test_over_http_the_page_comes_with_a_policy_and_its_data_as_json(filled: str) -> None:
    page = httpx.get(f"{filled}/dashboard")
    data = httpx.get(f"{filled}/dashboard/data", params={"period": "all"})

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert json.loads(data.text)["totals"]["tasks"] == 100
    assert data.headers["cache-control"] == "no-store"


def test_a_page_elsewhere_that_took_our_address_gets_nothing(filled: str) -> None:
    for path in ("/dashboard", "/dashboard/data"):
        assert httpx.get(f"{filled}{path}", headers={"host": "rebound.example"}).status_code == 400


def test_an_unknown_period_is_refused(filled: str) -> None:
    answer = httpx.get(f"{filled}/dashboard/data", params={"period": "year"})

    assert answer.status_code == 400
    assert answer.text == "period is one of hour, day, week, month, all."
