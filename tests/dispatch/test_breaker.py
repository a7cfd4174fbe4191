from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing.dispatch.breaker import Breaker, Breakers
from routing.errors import AuthenticationFailed, ProviderRejected, ProviderTimeout, ProviderUnavailable, RateLimited
from tests.fakes import Clock

WHERE = {"provider": "acme", "model_id": "acme/large"}
DOWN = ProviderUnavailable("down", **WHERE)


def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock, failures_to_open=3, rest_seconds=10, longest_rest_seconds=35)


def call(one: Breaker, failure: ProviderUnavailable | None = None) -> None:
    one.begin()
    one.failed(failure) if failure else one.succeeded()


def opened(clock: Clock) -> Breaker:
    one = breaker(clock)
    for _ in range(3):
        call(one, DOWN)
    return one


def test_failures_in_a_row_open_it_and_a_success_between_them_starts_the_count_anew() -> None:
    one = breaker(Clock())
    for failure in (DOWN, DOWN, None, DOWN, DOWN):
        call(one, failure)
    assert one.allows

    call(one, ProviderTimeout("slow", **WHERE))  # type: ignore[arg-type] # a time-out trips like a 5xx
    assert one.state == "open"
    assert not one.allows


def test_a_refusal_is_an_answer_and_does_not_trip_it() -> None:
    one = breaker(Clock())
    for failure in (
        ProviderRejected("400", **WHERE),
        AuthenticationFailed("401", **WHERE),
        RateLimited("429", provider="acme", model_id="acme/large"),
    ) * 3:
        one.begin()
        one.failed(failure)
    assert one.state == "closed"


def test_after_its_rest_one_probe_is_let_through_and_its_answer_closes_it() -> None:
    clock = Clock()
    one = opened(clock)
    clock.now += 10
    assert one.state == "half_open"
    assert one.allows

    one.begin()
    assert not one.allows

    one.succeeded()
    assert one.state == "closed"


def test_a_failed_probe_opens_it_again_for_twice_as_long_up_to_a_bound() -> None:
    clock = Clock()
    one = opened(clock)
    for rest in (10, 20, 35, 35):
        clock.now += rest - 1
        assert not one.allows
        clock.now += 1
        assert one.allows
        call(one, DOWN)


def test_a_probe_that_is_cancelled_leaves_its_place_free() -> None:
    clock = Clock()
    one = opened(clock)
    clock.now += 10
    one.begin()
    one.abandoned()
    assert one.allows


def test_every_key_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(lambda: breaker(Clock()))
    for _ in range(3):
        call(breakers.of("acme/large", "key one"), DOWN)
    assert not breakers.of("acme/large", "key one").allows
    assert breakers.of("acme/large", "key two").allows


class Machine(RuleBasedStateMachine):
    """However calls end, a breaker is never stuck and never lets two probes through."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.one = breaker(self.clock)
        self.probes = 0
        self.under_way = 0

    @precondition(lambda self: self.one.allows)
    @rule()
    def begin(self) -> None:
        if self.one.state == "half_open":
            self.probes += 1
        self.one.begin()
        self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(ending=st.sampled_from(["answered", "failed", "cancelled"]))
    def end(self, ending: str) -> None:
        self.under_way -= 1
        self.probes = 0
        match ending:
            case "answered":
                self.one.succeeded()
            case "failed":
                self.one.failed(DOWN)
            case _:
                self.one.abandoned()

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def one_probe_at_most(self) -> None:
        assert self.probes <= 1

    @invariant()
    def never_stuck(self) -> None:
        if not self.under_way:
            before = self.clock.now
            self.clock.now += 35
            assert self.one.allows
            self.clock.now = before


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30)
