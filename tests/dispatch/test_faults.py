from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from routing.dispatch.faults import fault, retry_after
from routing.errors import ContentFiltered, RateLimited
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
