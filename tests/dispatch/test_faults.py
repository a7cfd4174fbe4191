from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dispatch.faults import fault, headroom, retry_after, transport_fault
from routing.errors import AuthenticationFailed, ContentFiltered, ProviderError, ProviderRejected, RateLimited
from tests.builders import target


def test_a_date_to_retry_after_becomes_seconds_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    seconds = retry_after({"retry-after": date})

    assert seconds is not None
    assert 85 < seconds <= 90


@pytest.mark.parametrize("value", ["", "soon", "-5"])
def test_a_retry_after_that_says_nothing_usable_is_none(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_a_long_message_is_cut_to_one_line() -> None:
    text = str(fault("x\n" * 2000, target(), status=500))
    assert "\n" not in text
    assert len(text) < 600


def test_a_content_filter_is_told_by_its_code() -> None:
    assert isinstance(fault("no", target(), status=400, types=("content_filter",)), ContentFiltered)


def test_a_quota_error_inside_a_stream_is_a_rate_limit() -> None:
    assert isinstance(fault("no", target(), types=("insufficient_quota",)), RateLimited)


@given(st.text(), st.text())
def test_whatever_the_headers_say_the_delay_is_never_negative(value: str, milliseconds: str) -> None:
    delay = retry_after({"retry-after": value, "retry-after-ms": milliseconds})
    assert delay is None or delay >= 0


def test_milliseconds_win_over_seconds() -> None:
    assert retry_after({"retry-after": "2", "retry-after-ms": "1500"}) == 1.5


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("This model's maximum context length is 8192 tokens.", ProviderRejected),
        ("prompt is too long: 210000 tokens > 200000 maximum", ProviderRejected),
        ("input length and `max_tokens` exceed context limit: 9 + 9 > 8", ProviderRejected),
        ("This model's maximum prompt length is 131072 but the request contains 140000 tokens.", ProviderRejected),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 500, None])
def test_a_request_that_is_too_long_is_told_by_the_servers_words(
    message: str, expected: type[ProviderError], status: int | None
) -> None:
    error = fault(message, target(), status=status)
    assert type(error) is expected
    assert str(error).startswith("the request does not fit its context window")
    assert message in str(error)


def test_a_rate_limit_on_tokens_is_not_a_request_that_is_too_long() -> None:
    assert isinstance(fault("prompt is too long for now", target(), status=429), RateLimited)


def test_a_flagged_request_is_no_matter_of_the_key() -> None:
    assert isinstance(fault('Your input was flagged for "violence".', target(), status=403), ContentFiltered)


def test_a_bad_key_is_told_although_the_status_is_400() -> None:
    assert isinstance(fault("Incorrect API key provided: xa***42", target(), status=400), AuthenticationFailed)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8), st.integers(0, 3), st.integers(0, 600))
def test_no_part_of_a_key_is_left_in_any_form(key: str, form: int, before: int) -> None:
    canary = f"sk-canary{key}"
    shown = [canary, quote(canary, safe=""), quote(canary, safe="").lower(), f"at {quote(canary)}"][form]

    for error in (
        fault(f"{'x' * before} {shown} y", target(), status=500, secret=canary),
        transport_fault(httpx.ConnectError(f"{'x' * before} {shown} y"), target(), f"{canary}\n"),
    ):
        assert "canary" not in str(error)


@pytest.mark.parametrize(
    "text",
    ["GET http://h/?key=abc123 failed", "Bearer abc123 refused", "http://user:abc123@host/", "x?a=1&api_key=abc123"],
)
def test_the_credentials_of_others_are_taken_out_too(text: str) -> None:
    assert "abc123" not in str(fault(text, target(), status=500))


@pytest.mark.parametrize(
    ("headers", "left", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"}, 59, 1),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 0, 360),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "120ms"}, 3, 0.12),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1h2m3.5s"}, 3, 3723.5),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "7.66"}, 3, 7.66),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "soon"}, 3, None),
        ({"anthropic-ratelimit-requests-remaining": "7"}, 7, None),
    ],
)
def test_what_is_left_of_a_rate_limit_is_read_from_the_headers(
    headers: dict[str, str], left: int, seconds: float | None
) -> None:
    found = headroom(headers)
    assert found is not None
    assert found.requests_left == left
    assert found.renewed_in_seconds == (None if seconds is None else pytest.approx(seconds))


def test_anthropics_point_in_time_becomes_seconds_from_now() -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    found = headroom({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": soon})
    assert found is not None
    assert found.tokens_left == 0
    assert found.renewed_in_seconds == pytest.approx(30, abs=3)


def test_headers_without_a_rate_limit_say_nothing() -> None:
    assert headroom({"content-type": "text/event-stream", "x-ratelimit-remaining-requests": "many"}) is None
