"""Every fault on every wire, through the real SDK and the real engine: what is tried again, what goes elsewhere, what trips a
breaker, and what is booked. The primary is the adapter over a mock transport; the fallback is a fake that answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2 as httpx
import pytest

from routing.dispatch.breaker import BreakerState
from routing.errors import ProviderTimeout, ProviderUnavailable, RateLimited
from routing.types import Access, ModelRequest, ModelResponse, OnText, Provider, Target
from tests.builders import catalog
from tests.dispatch.dialects import KEY, Dialect
from tests.dispatch.test_contract import FAULTS, Fault, every_wire
from tests.dispatch.test_engine import FIRST, Scripted, Stand

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class TwoProviders(Scripted):
    """The adapter for the primary, and itself for the fallback."""

    primary: Provider | None = None
    heard: list[str] = field(default_factory=list[str])

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        if target.model_id != FIRST.model_id:
            return await Scripted.send(self, request, target, on_text)
        assert self.primary is not None
        self.requests.append((target.model_id, request))

        async def listening(text: str) -> None:
            self.heard.append(text)
            await on_text(text)

        return await self.primary.send(request, target, listening)


async def bad_day(dialect: Dialect, fault: Fault, calls: int) -> Stand:
    """Call a primary that always has this fault, and its fallback."""
    respond: Callable[[httpx.Request], httpx.Response] = fault.happens(dialect)
    access = Access(protocol="", base_url=dialect.base_url, api_key=KEY)
    adapter = dialect.adapter(access, transport=httpx.MockTransport(respond))
    stand = Stand(TwoProviders(primary=adapter))
    try:
        for _ in range(calls):
            conversation = await stand.ask()
            assert conversation.answer.model_id == "zeta/second"
            assert conversation.answer.response.text == "Paris."
    finally:
        await adapter.aclose()
    return stand


@every_wire
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_tried_again_goes_elsewhere_trips_or_not_and_is_booked(dialect: Dialect, fault: Fault) -> None:
    stand = await bad_day(dialect, fault, calls=1)
    on_primary = [attempt for attempt in stand.booked if attempt.model_id == FIRST.model_id]
    waits_long = fault.retry_after is not None and fault.retry_after > 8

    assert len(on_primary) == (3 if fault.becomes.retryable and not waits_long else 1)
    assert all(attempt.outcome == "failed" for attempt in on_primary)
    assert all((attempt.error or "").startswith(fault.becomes.__name__) for attempt in on_primary)
    assert KEY not in str(stand.booked)
    assert stand.booked[-1].outcome == "answered"


@every_wire
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_only_what_says_that_nobody_is_there_opens_the_breaker(dialect: Dialect, fault: Fault) -> None:
    stand = await bad_day(dialect, fault, calls=6)

    trips = issubclass(fault.becomes, (ProviderTimeout, ProviderUnavailable))
    state: BreakerState = stand.engine.breaker_state(FIRST, catalog(FIRST))
    assert state == ("open" if trips else "closed")
    if trips:
        assert stand.asked.count(FIRST.model_id) == 5
    elif not issubclass(fault.becomes, RateLimited):
        assert stand.asked.count(FIRST.model_id) == 6
