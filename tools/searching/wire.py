"""One question to one engine over HTTP: bounded in time and size, and its failures in words that hold no secret.

What a server writes into an error is never repeated: it may echo the key, or be meant for the model that reads it. What a
status stands for is said here, and by each engine in ``meanings`` where it means something else there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import anyio
import httpx2 as httpx
from pydantic import BaseModel, ConfigDict

from routing.dispatch.faults import retry_after
from tools.searching.results import EngineFailed

LONGEST_SECONDS = 15.0
MOST_BYTES = 2_000_000
_TIMEOUT = httpx.Timeout(LONGEST_SECONDS, connect=5)
_TOO_MANY_REQUESTS, _SERVICE_UNAVAILABLE, _FIRST_SERVER_ERROR = 429, 503, 500
_REST_WHERE_NOT_TOLD, _LONGEST_REST = 10.0, 3_600.0
_BAD_KEY = "it did not accept the key in {key_variable} ({status})"
_NO_CREDIT = "the credit of the key in {key_variable} is used up ({status})"
_MEANINGS: Mapping[int, str] = {
    401: _BAD_KEY,
    402: _NO_CREDIT,
    403: _BAD_KEY,
    408: "it timed out ({status})",
    429: "its rate limit is reached ({status})",
}
_SERVER_ERROR, _REDIRECTED, _REFUSED = (
    "server error ({status})",
    "it redirects ({status})",
    "request refused ({status})",
)
_RETRYABLE = (408, _TOO_MANY_REQUESTS)


class Reply(BaseModel):
    """The part of an engine's answer that is used. What does not fit is never shown: it could echo anything."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


R = TypeVar("R", bound=Reply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one engine is asked, and what its statuses mean. Credentials stay out of every printed form."""

    method: str
    url: str
    key_variable: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    auth: httpx.BasicAuth | None = field(default=None, repr=False)
    meanings: Mapping[int, str] = field(default_factory=dict[int, str])
    rest_of: Callable[[Mapping[str, str]], float | None] = retry_after


class Wire:
    """The connections that all engines share, opened on first use. ``transport`` replaces the network, for tests."""

    def __init__(
        self, *, transport: httpx.AsyncBaseTransport | None = None, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._transport = transport
        self._longest_seconds = longest_seconds

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # No proxy, .netrc or certificate from the environment, and no redirect: a key goes to its engine and nowhere else.
        return httpx.AsyncClient(transport=self._transport, trust_env=False, timeout=_TIMEOUT, follow_redirects=False)

    async def ask(
        self,
        endpoint: Endpoint,
        reply: type[R],
        *,
        params: Mapping[str, str | int] | None = None,
        json: Mapping[str, object] | None = None,
    ) -> R:
        """Send one question, and read the answer.

        Raises:
            EngineFailed: no answer, or none that can be used.

        """
        try:
            with anyio.fail_after(self._longest_seconds):
                body = await self._body(endpoint, params, json)
            return reply.model_validate_json(body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EngineFailed(f"no answer within {self._longest_seconds:.0f} s", retryable=True) from error
        except httpx.HTTPError as error:
            raise EngineFailed(f"it cannot be reached ({type(error).__name__})", retryable=True) from error
        except ValueError as error:
            raise EngineFailed("it answered something that is not JSON, or not what its API promises") from error

    async def _body(
        self, endpoint: Endpoint, params: Mapping[str, str | int] | None, json: Mapping[str, object] | None
    ) -> bytes:
        auth = endpoint.auth or httpx.USE_CLIENT_DEFAULT
        async with self._client.stream(
            endpoint.method, endpoint.url, params=params, json=json, headers=endpoint.headers, auth=auth
        ) as response:
            if not response.is_success:
                raise fault_of(endpoint, response.status_code, response.headers)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise EngineFailed(f"its answer is larger than {MOST_BYTES // 1_000_000} MB")
            return bytes(body)

    async def aclose(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()


def fault_of(endpoint: Endpoint, status: int, headers: Mapping[str, str]) -> EngineFailed:
    """The error that a status stands for, with the rest that the engine asks for (at most an hour)."""
    words = endpoint.meanings.get(status) or _MEANINGS.get(status) or _words_of(status)
    rest = 0.0
    if status in (_TOO_MANY_REQUESTS, _SERVICE_UNAVAILABLE):
        told = endpoint.rest_of(headers)
        rest = min(told if told is not None else _rest_untold(status), _LONGEST_REST)
    return EngineFailed(
        words.format(status=status, key_variable=endpoint.key_variable),
        retryable=status in _RETRYABLE or status >= _FIRST_SERVER_ERROR,
        rest_seconds=rest,
    )


def _words_of(status: int) -> str:
    if status >= _FIRST_SERVER_ERROR:
        return _SERVER_ERROR
    return _REDIRECTED if httpx.codes.is_redirect(status) else _REFUSED


def _rest_untold(status: int) -> float:
    return _REST_WHERE_NOT_TOLD if status == _TOO_MANY_REQUESTS else 0.0
