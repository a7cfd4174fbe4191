from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dispatch.retry import RetryBudget, RetryPolicy
from routing.errors import ProviderRejected, ProviderTimeout, ProviderUnavailable, RateLimited

WHERE = {"provider": "acme", "model_id": "acme/large"}
DOWN = ProviderUnavailable("down", **WHERE)


def test_waits_grow_with_each_retry_up_to_the_cap() -> None:
    policy = RetryPolicy(most_retries=9, base_seconds=1, cap_seconds=8, draw=lambda: 1.0)

    assert [policy.wait_before(retry, DOWN) for retry in range(6)] == [1, 2, 4, 8, 8, 8]


@given(st.floats(0, 1), st.integers(0, 8))
def test_a_wait_is_drawn_between_nothing_and_its_cap(drawn: float, retry: int) -> None:
    wait = RetryPolicy(most_retries=9, draw=lambda: drawn).wait_before(retry, DOWN)

    assert wait is not None
    assert 0 <= wait <= min(8.0, 0.5 * 2**retry)


def test_what_will_fail_again_is_not_tried_again() -> None:
    assert RetryPolicy().wait_before(0, ProviderRejected("no", **WHERE)) is None
    assert RetryPolicy(most_retries=1).wait_before(1, ProviderTimeout("slow", **WHERE)) is None


def test_a_retry_after_is_honoured_to_the_second() -> None:
    assert RetryPolicy().wait_before(0, RateLimited("slow down", **WHERE, retry_after=17)) == 17


@pytest.mark.parametrize(("in_flight", "allowed"), [(0, 3), (10, 3), (15, 3), (20, 4), (100, 20)])
def test_a_fifth_of_the_calls_under_way_may_be_retries_but_three_always(in_flight: int, allowed: int) -> None:
    budget = RetryBudget()
    budget.in_flight = in_flight
    granted = 0
    while budget.allows_another:
        granted += 1
        budget.retrying += 1
    assert granted == allowed


def test_a_call_and_a_retry_that_end_in_an_error_are_no_longer_counted() -> None:
    budget = RetryBudget()
    with pytest.raises(ZeroDivisionError), budget.call(), budget.retry():
        raise ZeroDivisionError
    assert (budget.in_flight, budget.retrying) == (0, 0)
