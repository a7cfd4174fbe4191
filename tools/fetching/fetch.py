"""One page of the web: fetched within limits, vetted at every step, and read.

    url ─▶ Address ─▶ dial, vetted ─▶ redirect? again from the start ─▶ body, bounded ─▶ Reader ─▶ Page

Nothing of the caller goes along: no cookies, no credentials, no proxy, nothing from the environment. Each hop is a
connection of its own.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin

import anyio
import httpcore2
import httpx2 as httpx
from anyio import to_thread

from routing.errors import ToolFailed
from tools.fetching.addresses import Address, Allowed, Refused
from tools.fetching.cache import PageCache
from tools.fetching.decoding import ACCEPT_ENCODING, decoder_of
from tools.fetching.dialer import Resolver, VettingBackend, resolved
from tools.fetching.media import content_type_of, kind_of
from tools.fetching.reading import Reader
from tools.fetching.values import Page

USER_AGENT = "pointsman (an MCP server, reading one page for its user)"

_ACCEPT = "text/html, application/xhtml+xml, text/*;q=0.9, application/pdf;q=0.9, application/json;q=0.9, */*;q=0.5"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a page may cost. ``total_seconds`` is for all hops together; ``most_bytes`` counts what was unpacked."""

    connect_seconds: float = 5.0
    total_seconds: float = 20.0
    most_bytes: int = 5_000_000
    most_redirects: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Download:
    address: Address
    media_type: str
    charset: str | None
    body: bytes
    truncated: bool


def verified_tls() -> ssl.SSLContext:
    """The system's authorities, whatever SSL_CERT_FILE says."""
    return httpx.create_ssl_context(trust_env=False)


class Fetcher:
    """Fetches pages. ``resolve``, ``network`` and ``tls`` are seams for tests; the settings give ``allowed``."""

    def __init__(
        self,
        allowed: Allowed | None = None,
        *,
        limits: Limits | None = None,
        reader: Reader | None = None,
        cache: PageCache | None = None,
        resolve: Resolver = resolved,
        network: httpcore2.AsyncNetworkBackend | None = None,
        tls: Callable[[], ssl.SSLContext] = verified_tls,
    ) -> None:
        self._allowed = allowed or Allowed()
        self._limits = limits or Limits()
        self._reader = reader or Reader()
        self._cache = cache or PageCache()
        self._backend = VettingBackend(self._allowed, resolve=resolve, inner=network)
        self._tls = tls
        self._tls_context: ssl.SSLContext | None = None

    async def get(self, url: str) -> Page:
        """Fetch and read a page, or remember it from a moment ago.

        Raises:
            ToolFailed: the address may not be read, nobody answers, or the answer is nothing that can be read.

        """
        address = self._allowed.address_of(url)
        if page := self._cache.get(address.url):
            return page
        page = await self._read(await self._download(address))
        self._cache.put(address.url, page)
        return page

    async def aclose(self) -> None:
        """End the process that reads documents."""
        await self._reader.aclose()

    async def _read(self, download: _Download) -> Page:
        url = download.address.url
        kind = kind_of(download.media_type, download.body)
        if kind is None:
            raise _unreadable(download.address, download.media_type)
        if kind == "pdf" and download.truncated:
            raise ToolFailed(f"it is a PDF of more than {self._limits.most_bytes / 1e6:g} MB, which is not read.")
        document = await self._reader.read(download.body, kind, url=url, charset=download.charset)
        return Page(
            url=url,
            title=document.title,
            text=document.text,
            content_type=download.media_type,
            truncated=download.truncated or document.truncated,
        )

    async def _download(self, address: Address) -> _Download:
        try:
            with anyio.fail_after(self._limits.total_seconds):
                return await self._followed(address)
        except TimeoutError as late:
            raise ToolFailed(
                f"the page was not here within {self._limits.total_seconds:g} s.", retryable=True
            ) from late

    async def _followed(self, address: Address) -> _Download:
        """Follow redirects to the page; each is an address like the first, and parsed and vetted like it."""
        for _ in range(self._limits.most_redirects + 1):
            found = await self._hop(address)
            if isinstance(found, _Download):
                return found
            address = self._redirected(address, found)
        raise ToolFailed(f"the address redirects more than {self._limits.most_redirects} times.")

    def _redirected(self, address: Address, location: str) -> Address:
        try:
            after = self._allowed.address_of(urljoin(address.url, location))
        except ValueError as problem:
            raise ToolFailed(f"{address.host} redirects to what is no address.") from problem
        except Refused as refusal:
            raise ToolFailed(f"{address.host} redirects to an address that is not read: {refusal.why}.") from refusal
        if (address.scheme, after.scheme) == ("https", "http"):
            raise ToolFailed(f"{address.host} redirects from https to http, which is not followed.")
        return after

    async def _hop(self, address: Address) -> _Download | str:
        """One request: the page, or where it went."""
        async with self._response(address) as response:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and "location" in headers:
                return headers["location"].encode("latin-1").decode(errors="replace")
            _check_status(address, response.status)
            media_type, charset = content_type_of(headers)
            if kind_of(media_type) is None:
                raise _unreadable(address, media_type)
            body, truncated = await self._body(response, headers)
            return _Download(address=address, media_type=media_type, charset=charset, body=body, truncated=truncated)

    @asynccontextmanager
    async def _response(self, address: Address) -> AsyncGenerator[httpcore2.Response]:
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=await self._context() if address.scheme == "https" else None, network_backend=self._backend
        )
        where = httpcore2.URL(
            scheme=address.scheme, host=address.host, port=address.port, target=address.target.encode("ascii")
        )
        timeout = {"connect": self._limits.connect_seconds}  # `total_seconds` bounds the rest
        try:
            async with (
                pool,
                pool.stream("GET", where, headers=_headers(address), extensions={"timeout": timeout}) as response,
            ):
                yield response
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as failure:
            raise _unreachable(address, failure) from failure

    async def _context(self) -> ssl.SSLContext:
        if self._tls_context is None:
            self._tls_context = await to_thread.run_sync(self._tls)
        return self._tls_context

    async def _body(self, response: httpcore2.Response, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """The body, unpacked, and whether it was cut; what comes over the wire is bounded like what it unpacks to."""
        decoder, most = decoder_of(headers.get("content-encoding", "")), self._limits.most_bytes
        body, received = bytearray(), 0
        async for chunk in response.aiter_stream():
            received += len(chunk)
            body += decoder.decoded(chunk, most + 1 - len(body))
            if len(body) > most or received > most:
                return bytes(body[:most]), True
        return bytes(body), False


def _headers(address: Address) -> list[tuple[str, str]]:
    return [
        ("Host", address.authority),
        ("User-Agent", USER_AGENT),
        ("Accept", _ACCEPT),
        ("Accept-Encoding", ACCEPT_ENCODING),
        ("Connection", "close"),
    ]


def _check_status(address: Address, status: int) -> None:
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        phrase = HTTPStatus(status).phrase if status in {*HTTPStatus} else "no known status"
        raise ToolFailed(f"{address.host} answered {status} ({phrase}).", retryable=status in _MAY_PASS)


def _unreadable(address: Address, media_type: str) -> ToolFailed:
    return ToolFailed(f"{address.host} sends {media_type}. Only HTML, text, JSON, XML and PDF can be read.")


def _unreachable(address: Address, failure: Exception) -> ToolFailed:
    untrusted = next((cause for cause in _causes(failure) if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if untrusted is not None:
        return ToolFailed(f"{address.host} does not prove who it is: {untrusted.verify_message.rstrip('.')}.")
    return ToolFailed(f"the page of {address.host} cannot be fetched: {_why(failure)}.", retryable=True)


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _why(failure: Exception) -> str:
    match failure:
        case httpcore2.TimeoutException():
            return "the connection was not made in time"
        case httpcore2.ConnectError():
            return "no connection could be made"
        case _:
            return "the connection broke off before the whole answer was here"
