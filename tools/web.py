"""The web: `fetch_url`, `web_search`. What strangers wrote goes to the model in an envelope that says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from routing.pricing import spoken_usd, usd
from tools.base import Result, Services, StrictTool, book, caller_of, errors_for_the_model, services_of, strict_tool
from tools.fetching.untrusted import enveloped
from tools.fetching.values import Page
from tools.searching import Found, Freshness, SearchResults

AnyContext = Context[Services, Any]
MOST_CHARS = 100_000
MOST_RESULTS = 20
_EMPTY = "(no text; a page made by scripts, perhaps, which are not run)"


class PageResult(Result):
    """Beside the text."""

    url: str
    title: str | None
    content_type: str
    next_start_index: int | None
    truncated: bool


class FoundResult(Result):
    """A page that a search found."""

    title: str
    url: str
    snippet: str


class SearchResult(Result):
    """What was found."""

    results: list[FoundResult]
    cost_usd: float


async def fetch_url(
    ctx: AnyContext,
    url: Annotated[str, Field(description="http or https")],
    max_chars: Annotated[int, Field(description="Length of a part", ge=1, le=MOST_CHARS)] = 20_000,
    start_index: Annotated[int, Field(description="Of a later part", ge=0)] = 0,
) -> Annotated[CallToolResult, PageResult]:
    """Read a web page, PDF or JSON as Markdown. Runs no scripts. To find pages use web_search."""
    with errors_for_the_model():
        page = await services_of(ctx).fetcher.get(url)
    if start_index > len(page.text):
        raise ToolError(f"The page ends at {len(page.text)}: start_index must be below that.")
    return _shown(page, start_index, start_index + max_chars)


async def web_search(
    ctx: AnyContext,
    query: Annotated[str, Field(description="Words", max_length=1000)],
    count: Annotated[int, Field(description="Results", ge=1, le=MOST_RESULTS)] = 5,
    freshness: Annotated[Freshness | None, Field(description="Newest only")] = None,
) -> Annotated[CallToolResult, SearchResult]:
    """Search the web. To read a page that was found use fetch_url."""
    started_at = time.time()
    with errors_for_the_model():
        found = await services_of(ctx).search.paid_by(caller_of(ctx)).search(query, count=count, freshness=freshness)
    await book(ctx, "web_search", found.cost_microusd, started_at)
    return _listed(found)


def _shown(page: Page, start: int, end: int) -> CallToolResult:
    """The part as text in its envelope, and where the rest is."""
    result = PageResult(
        url=page.url,
        title=page.title,
        content_type=page.content_type,
        next_start_index=end if end < len(page.text) else None,
        truncated=page.truncated,
    )
    heading = f"# {page.title}\n\n" if page.title and start == 0 else ""
    text = enveloped(heading + (page.text[start:end] or _EMPTY), page.url)
    return CallToolResult(
        content=[TextContent(text=text), *_note_of(result, start, len(page.text))],
        structured_content=result.model_dump(mode="json"),
    )


def _note_of(result: PageResult, start: int, total: int) -> list[TextContent]:
    """What to know about a part that is not the whole."""
    if start == 0 and result.next_start_index is None and not result.truncated:
        return []
    end = result.next_start_index or total
    rest = f"; go on with start_index {end}" if end < total else ""
    cut = "; the page is longer than is read of one" if result.truncated else ""
    return [TextContent(text=f"[characters {start} to {end} of {total}{rest}{cut}]")]


def _listed(found: SearchResults) -> CallToolResult:
    """The results as a numbered list in its envelope, and as data."""
    result = SearchResult(
        results=[FoundResult(title=row.title, url=row.url, snippet=row.snippet) for row in found.results],
        cost_usd=usd(found.cost_microusd) or 0.0,
    )
    rows = "\n".join(f"{number}. {_row(row)}" for number, row in enumerate(found.results, 1))
    bill = f"[{found.engine}, {spoken_usd(found.cost_microusd)}]"
    notices = "".join(f"\nNote: {notice}" for notice in found.notices)
    return CallToolResult(
        content=[
            TextContent(text=enveloped(rows, f"{found.engine}: {found.query}") if rows else "Nothing was found."),
            TextContent(text=bill + notices),
        ],
        structured_content=result.model_dump(mode="json"),
    )


def _row(row: Found) -> str:
    about = ", ".join(part for part in (row.source, row.age) if part)
    return f"{row.title}\n   {row.url}{f' ({about})' if about else ''}\n   {row.snippet}"


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    look = {"read_only": True, "idempotent": True, "open_world": True}
    return (
        strict_tool(web_search, title="Search the web", **look),
        strict_tool(fetch_url, title="Read a web page", **look),
    )
