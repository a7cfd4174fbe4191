"""The dashboard: one page that shows a usage report, drawn from the report's data and nothing else.

    dashboard.html   the page: style, script and drawing in one file; it asks nobody but where it came from
    apps()           the page for hosts that render MCP Apps: they give it what `usage_report` returned
    routes(…)        the page and its data over HTTP, for whoever opens /dashboard in a browser

The page is an MCP App by https://modelcontextprotocol.io/specification/draft/extensions/apps. Over HTTP its
Content-Security-Policy names the script and the style by their hashes, so a page that was tampered with does not run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal

import anyio
from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FileResource
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from routing.report import PERIODS, Period

URI = "ui://pointsman/dashboard.html"
PAGE = Path(__file__).with_name("dashboard.html")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

ReadData = Callable[[Request, Period], Awaitable[str]]
"""The report on a period for whoever asks, as JSON, as `usage_report` gives it with all breakdowns."""

_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


def apps() -> Apps:
    """The extension that offers the page to hosts; the file is read when one asks for it."""
    extension = Apps()
    extension.add_resource(
        FileResource(
            uri=URI,
            name="dashboard",
            title="Usage dashboard",
            description="Spend, savings, latency, quality and recent decisions",
            mime_type=APP_MIME_TYPE,
            meta={"ui": {"prefersBorder": False}},
            path=PAGE,
            encoding="utf-8",
        )
    )
    return extension


def routes(read_data: ReadData, *, hosts: Sequence[str] = LOOPBACK, path: str = "/dashboard") -> list[Route]:
    """The page at ``path`` and its data at ``path``/data, for requests that name one of ``hosts``.

    Others are refused: a page on the web could point its own name at this machine and read along (DNS rebinding).
    """
    only_here = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)]

    async def page(_: Request) -> Response:
        html = await anyio.Path(PAGE).read_text(encoding="utf-8")
        return HTMLResponse(html, headers={**_HEADERS, "content-security-policy": policy_of(html)})

    async def data(request: Request) -> Response:
        period = _period_of(request.query_params.get("period", "week"))
        if period is None:
            return PlainTextResponse(f"period is one of {', '.join(PERIODS)}.", status_code=400, headers=_HEADERS)
        return Response(await read_data(request, period), media_type="application/json", headers=_HEADERS)

    return [
        Route(path, page, methods=["GET"], middleware=only_here),
        Route(f"{path}/data", data, methods=["GET"], middleware=only_here),
    ]


def policy_of(html: str) -> str:
    """A Content-Security-Policy under which this page runs, and asks only where it came from."""
    return (
        f"default-src 'none'; script-src {_hash_of('script', html)}; style-src {_hash_of('style', html)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(tag: Literal["script", "style"], html: str) -> str:
    [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def _period_of(text: str) -> Period | None:
    return next((period for period in PERIODS if period == text), None)
