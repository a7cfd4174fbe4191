"""What a failed call stands for: HTTP status, error type and wording → `ProviderError`, for all vendors.

Statuses after RFC 9110; types and wordings as the vendors document them and as recorded traffic shows them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypedDict
from urllib.parse import quote, quote_plus

from routing.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.types import Headroom, Target

WRONG_SHAPE = (ValueError, TypeError, AttributeError, LookupError)
"""What the SDKs and the adapters stumble with where an answer is not JSON, or not the JSON that its API promises: the SDKs
build their objects without checking them."""

_LONGEST_MESSAGE = 500
_STATUS_OF_TYPE: Mapping[str, int] = {
    "overloaded_error": 529,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "billing_error": 402,
    "not_found_error": 404,
    "model_not_found": 404,
    "invalid_request_error": 400,
    "tool_use_failed": 400,
    "timeout_error": 504,
    "vector_store_timeout": 504,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "DEADLINE_EXCEEDED": 504,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}
"""Error types that arrive inside a stream, whose HTTP status was 200. Google's names are those of gRPC."""

_REQUEST_TYPES = ("invalid_", "unsupported_", "image_", "empty_image", "failed_to_download_image")
"""How the names of errors begin that OpenAI's Responses API streams about the request itself."""

_Nature = Literal["too_long", "filtered", "bad_key"]
_NATURE_OF_TYPE: Mapping[str, _Nature] = {
    "context_length_exceeded": "too_long",
    "exceed_context_size_error": "too_long",
    "request_too_large": "too_long",
    "content_filter": "filtered",
    "content_policy_violation": "filtered",
    "image_content_policy_violation": "filtered",
    "misalignment_policy_violation": "filtered",
    "bio_policy": "filtered",
    "invalid_prompt": "filtered",
    "API_KEY_INVALID": "bad_key",
}
_NATURE_OF_WORDING: Mapping[str, _Nature] = {
    "prompt is too long": "too_long",
    "exceed context limit": "too_long",
    "exceeds the context window": "too_long",
    "exceeds the available context size": "too_long",
    "exceeds the maximum number of tokens": "too_long",
    "maximum context length": "too_long",
    "maximum prompt length": "too_long",
    "your input was flagged": "filtered",
    "blocked by content filtering policy": "filtered",
    "incorrect api key": "bad_key",
    "api key not valid": "bad_key",
}
"""For servers whose status and type say only "bad request"; in lower case."""

_FIRST_ERROR, _TOO_MANY_REQUESTS, _FIRST_SERVER_ERROR = 400, 429, 500
_TIMED_OUT = (ProviderTimeout, "timed out ({status}): {text}")
_BAD_KEY = (AuthenticationFailed, "the key of {provider} was not accepted ({status}): {text}")
_BY_NATURE: Mapping[_Nature, tuple[type[ProviderError], str]] = {
    "too_long": (ProviderRejected, "the request does not fit its context window ({text})"),
    "filtered": (ContentFiltered, "refused by the content filter: {text}"),
    "bad_key": _BAD_KEY,
}
_BY_STATUS: Mapping[int, tuple[type[ProviderError], str]] = {
    401: _BAD_KEY,
    403: _BAD_KEY,
    408: _TIMED_OUT,
    504: _TIMED_OUT,
}
_REFUSED = (ProviderRejected, "request refused ({status}): {text}")
_BROKEN = (ProviderUnavailable, "server error ({status}): {text}")

_CREDENTIALS = re.compile(
    r"(?i)(?:(?<=bearer )|(?<=[?&]key=)|(?<=api[_-]key=)|(?<=access_token=))[^\s&\"',;)]+|(?<=://)[^/\s@]+(?=@)"
)
_REDACTED = "[redacted]"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(
    r"(?=.)(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m(?!s))?(?:(?P<s>\d+(?:\.\d+)?)s)?(?:(?P<ms>\d+(?:\.\d+)?)ms)?"
)


class StreamedError(Exception):
    """A failure that a stream told of as one of its ordinary events. ``types`` are the provider's names for it."""

    def __init__(self, message: object, *types: object) -> None:
        super().__init__(message)
        self.types = types


def fault(
    message: object,
    target: Target,
    *,
    status: int | None = None,
    types: Sequence[object] = (),
    headers: Mapping[str, str] | None = None,
    secret: str | None = None,
) -> ProviderError:
    """The error that a failed call stands for.

    ``status`` is the HTTP status, ``types`` the provider's own names for the error, the most telling first; they decide
    where the status says 200 or nothing. Message and types are as the server sent them, so they may be no text at all.
    ``secret`` is removed from the message.
    """
    names = [name for name in types if isinstance(name, str)]
    text = _clean(str(message), secret)
    status = status if status is not None and status >= _FIRST_ERROR else _status_of(names)
    if status == _TOO_MANY_REQUESTS:
        return RateLimited(f"rate limit reached: {text}", **_where(target), retry_after=retry_after(headers or {}))
    nature = _nature_of(str(message), names)
    by_status = _BY_STATUS.get(status, _BROKEN if status >= _FIRST_SERVER_ERROR else _REFUSED)
    error, words = _BY_NATURE[nature] if nature else by_status
    return error(words.format(provider=target.provider, status=status, text=text), **_where(target))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers ask to wait.

    ``Retry-After`` is in seconds or an HTTP date (RFC 9110 §10.2.3); OpenAI's ``retry-after-ms`` is finer, so it wins.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def headroom(headers: Mapping[str, str]) -> Headroom | None:
    """What a provider's headers say is left of its rate limit; ``None`` where they say nothing.

    OpenAI, Groq, Together and xAI send ``x-ratelimit-…`` with a time such as ``6m0s`` or a number of seconds; Anthropic sends
    ``anthropic-ratelimit-…`` with a point in time.
    https://platform.openai.com/docs/guides/rate-limits, https://platform.claude.com/docs/en/api/rate-limits
    """
    requests = _count(headers, "x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")
    tokens = _count(headers, "x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining")
    if requests is None and tokens is None:
        return None
    spent = "tokens" if tokens == 0 else "requests"
    renewed = headers.get(f"x-ratelimit-reset-{spent}") or headers.get(f"anthropic-ratelimit-{spent}-reset") or ""
    return Headroom(requests_left=requests, tokens_left=tokens, renewed_in_seconds=_seconds_until(renewed))


def _count(headers: Mapping[str, str], *names: str) -> int | None:
    value = next((headers[name] for name in names if name in headers), "")
    return int(value) if value.isdecimal() else None


def _seconds_until(value: str) -> float | None:
    """Seconds meant by ``1s``, ``6m0s``, ``120ms``, ``2.5`` or a point in time (RFC 3339)."""
    if found := _DURATION.fullmatch(value):
        return sum(float(found[unit] or 0) * seconds for unit, seconds in _UNITS.items())
    try:
        return max(0.0, datetime.fromisoformat(value).timestamp() - time.time())
    except ValueError:
        return _number(value)


def broken_off(target: Target) -> ProviderError:
    """A stream that ended without saying why: the SDKs let it pass, we do not."""
    return ProviderUnavailable("the answer broke off without a finish reason", **_where(target))


def transport_fault(error: Exception, target: Target, secret: str | None = None) -> ProviderError:
    """A failure below HTTP: no connection, a time-out, or bytes that are not what was promised."""
    where = _where(target)
    if isinstance(error, WRONG_SHAPE):
        return ProviderUnavailable(
            f"it answered something that is not JSON, or not what its API promises ({type(error).__name__})", **where
        )
    text = _clean(str(error.__cause__ or error), secret) or type(error).__name__
    if "timeout" in type(error).__name__.lower() or "timed out" in text.lower():
        return ProviderTimeout(f"no answer in time: {text}", **where)
    return ProviderUnavailable(f"cannot be reached: {text}", **where)


class _Where(TypedDict):
    provider: str
    model_id: str


def _where(target: Target) -> _Where:
    return {"provider": target.provider, "model_id": target.model_id}


def _status_of(types: Sequence[str]) -> int:
    for name in types:
        if name.isdecimal() and len(name) == 3:  # noqa: PLR2004 - an HTTP status
            return int(name)
        if name in _STATUS_OF_TYPE:
            return _STATUS_OF_TYPE[name]
        if name in _NATURE_OF_TYPE or name.startswith(_REQUEST_TYPES):
            return 400
    return 500


def _nature_of(message: str, types: Sequence[str]) -> _Nature | None:
    for name in types:
        if name in _NATURE_OF_TYPE:
            return _NATURE_OF_TYPE[name]
    lowered = message.lower()
    return next((nature for words, nature in _NATURE_OF_WORDING.items() if words in lowered), None)


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII) else None


def _clean(message: str, secret: str | None) -> str:
    """One short line without credentials. They go before it is cut: half a key is still a leak."""
    line = " ".join(_CREDENTIALS.sub(_REDACTED, _without(secret, message)).split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def _without(secret: str | None, message: str) -> str:
    """Take the secret out, as it is and as it looks in an address."""
    key = (secret or "").strip()
    if not key:
        return message
    forms = sorted({key, quote(key), quote_plus(key)}, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, forms)), _REDACTED, message, flags=re.IGNORECASE)
