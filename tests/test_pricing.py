from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.pricing import cost_microusd, microusd, spoken_usd, total_microusd
from routing.registry import Prices
from tests.builders import usage


def prices(**row: object) -> Prices:
    return Prices.model_validate(row)


@pytest.mark.parametrize(
    ("dollars_in", "dollars_out", "expected"),
    [
        # 10 turns x (2,000 input + 500 output); dollars per million tokens are micro-dollars per token
        pytest.param(15, 75, 675_000, id="claude-opus-4: 10 x (2000x15 + 500x75) = 10 x 67,500"),
        pytest.param(10, 40, 400_000, id="o3: 10 x (2000x10 + 500x40) = 10 x 40,000"),
        pytest.param(3, 15, 135_000, id="claude-sonnet-4: 10 x (2000x3 + 500x15) = 10 x 13,500"),
        pytest.param(2, 8, 80_000, id="gpt-4.1: 10 x (2000x2 + 500x8) = 10 x 8,000"),
        pytest.param("1.25", 10, 75_000, id="gemini-2.5-pro: 10 x (2000x1.25 + 500x10) = 10 x 7,500"),
        pytest.param("1.10", "4.40", 44_000, id="o4-mini: 10 x (2000x1.10 + 500x4.40) = 10 x 4,400"),
        pytest.param("0.55", "2.19", 21_950, id="deepseek-r1: 10 x (2000x0.55 + 500x2.19) = 10 x 2,195"),
        pytest.param("0.10", "0.40", 4_000, id="gpt-4.1-nano: 10 x (2000x0.10 + 500x0.40) = 10 x 400"),
        pytest.param("0.30", "2.50", 18_500, id="gemini-2.5-flash: 10 x (2000x0.30 + 500x2.50) = 10 x 1,850"),
    ],
)
def test_ten_turns_cost_the_sum_of_tokens_times_price(
    dollars_in: int | str, dollars_out: int | str, expected: int
) -> None:
    row = prices(input=Decimal(dollars_in), output=Decimal(dollars_out))

    cost = cost_microusd(usage(2_000, 500), row)

    assert cost is not None
    assert cost * 10 == expected


def test_cached_tokens_are_priced_apart_from_the_rest_of_the_input() -> None:
    row = prices(input=3, output=15, cache_read=Decimal("0.30"), cache_write=Decimal("3.75"))

    # 1,000 input of which 600 read and 100 written: 300x3 + 600x0.30 + 100x3.75 + 50x15 = 900 + 180 + 375 + 750
    cost = cost_microusd(usage(1_000, 50, cache_read_tokens=600, cache_write_tokens=100), row)

    assert cost == 2_205


def test_a_cache_price_that_is_not_listed_falls_to_the_input_price() -> None:
    assert cost_microusd(usage(1_000, 0, cache_read_tokens=600), prices(input=3, output=15)) == 3_000


def test_a_long_request_pays_the_steps_price_for_all_its_tokens() -> None:
    row = prices(
        input=Decimal("1.25"),
        output=10,
        long_context=[
            {"above_input_tokens": 200_000, "input": Decimal("2.5"), "output": 15},
            {"above_input_tokens": 500_000, "input": 4, "output": 20},
        ],
    )

    assert cost_microusd(usage(200_000, 100), row) == 251_000  # 200,000x1.25 + 100x10
    assert cost_microusd(usage(200_001, 100), row) == 501_503  # 200,001x2.5 + 100x15 = 501,502.5, half up
    assert cost_microusd(usage(600_000, 100), row) == 2_402_000  # 600,000x4 + 100x20


def test_many_small_calls_are_rounded_once_and_not_each() -> None:
    assert cost_microusd(usage(1, 0), prices(input=Decimal("0.1"), output=1), times=1_000_000) == 100_000


def test_an_unknown_price_gives_an_unknown_cost_and_not_zero() -> None:
    assert cost_microusd(usage(10, 10), prices(input=1)) is None
    assert cost_microusd(usage(10, 10), prices(input=0, output=0)) == 0


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert total_microusd([1, None]) is None
    assert total_microusd([1, 2]) == 3
    assert total_microusd([]) == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(tokens_in: int, tokens_out: int, more_in: int, more_out: int) -> None:
    row = prices(input=Decimal("0.07"), output=Decimal("0.31"))
    less = cost_microusd(usage(tokens_in, tokens_out), row)
    more = cost_microusd(usage(tokens_in + more_in, tokens_out + more_out), row)
    assert less is not None
    assert more is not None
    assert less <= more


def test_dollars_become_micro_dollars_without_binary_rounding() -> None:
    assert microusd(0.1 + 0.2) == 300_000
    assert microusd(0.0000005) == 1


@pytest.mark.parametrize(
    ("micro", "spoken"),
    [(None, "unknown"), (0, "$0.0000"), (42, "$0.000042"), (18_500, "$0.0185"), (12_400_000, "$12.40")],
)
def test_costs_are_spoken_with_the_digits_that_matter(micro: int | None, spoken: str) -> None:
    assert spoken_usd(micro) == spoken
