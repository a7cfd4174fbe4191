"""What may be spent: per hour, month, session and call, hard.

    Wallet            the configured budgets; asked once per route
      .standings      how they stand, so that the choice can be thrifty below `LOW_SHARE`
      .purse          what one route pays from; ``None`` where nothing limits it
    Purse.reserve     before each upstream call and each paid tool: its worst case is set aside, in all budgets at once
    Purse.settle      once after it: what it came to is booked, the rest is free again

The worst case is all input at the dearest of its prices (caching can make input dearer) and all output that the request allows.
Where only a shorter answer fits, the answer is bounded (`Quote.tokens_for`); where not even that, `BudgetExceeded`. What costs
nothing passes free of any transaction. What has no known price is refused wherever there is a budget: nothing could hold it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import anyio

from routing.errors import BudgetExceeded
from routing.pricing import PriceList, cost_microusd, spoken_usd
from routing.registry import Model
from routing.state import Allowance, BudgetPeriod, Budgets, Reservation, Standing
from routing.tokens import TokenCounter
from routing.types import LOCAL_CALLER, Attempt, ModelRequest, Toolbox, ToolOutcome, ToolSpec, Usage

LOW_SHARE = 0.2
"""Below this share of a budget, cheaper models are preferred."""

SHORTEST_ANSWER = 256
SHORTEST_REASONING = 1_024
"""Tokens below which an answer is not bounded to save money: what comes of it would be worth nothing."""

IMAGE_TOKENS = 4_096
"""More than any of the vendors counts for a picture of ordinary size."""

_FEWEST_OUTPUT = 16
"""What a wire that knows a least bound makes of a smaller one (OpenAI Responses)."""

_FRAME_TOKENS = 16
_MARGIN_EXACT, _MARGIN_ESTIMATED = 1.1, 1.5
"""How much more a provider may count than we do, which writes tools and turns into the prompt in its own way."""

_NO_CAP = 2**62

EVERYBODY = ""
"""The subject of a budget that all callers draw on."""

_NAMES: Mapping[BudgetPeriod, str] = {"hour": "hourly budget", "month": "monthly budget", "session": "session's budget"}
_VARIABLES: Mapping[BudgetPeriod, str] = {
    "hour": "POINTSMAN_HOURLY_BUDGET_USD",
    "month": "POINTSMAN_MONTHLY_BUDGET_USD",
    "session": "POINTSMAN_SESSION_BUDGET_USD",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The worst case of one upstream call: ``most`` micro-dollars for ``output_tokens``, ``least`` for the fewest of use."""

    what: str
    input_microusd: int
    most: int
    least: int
    output_tokens: int

    def tokens_for(self, microusd: int) -> int:
        """How long the answer may be for this much money."""
        if microusd >= self.most:
            return self.output_tokens
        spendable = max(0, microusd - self.input_microusd - 1)  # 1 for the rounding of both costs
        return self.output_tokens * spendable // (self.most - self.input_microusd)


@dataclass(slots=True, kw_only=True)
class Hold:
    """Money that one call may cost. ``reservation`` is ``None`` where only the call's own limit holds it."""

    microusd: int
    reservation: Reservation | None = None


FREE = Hold(microusd=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The configured budgets, in micro-dollars: ``hour`` and ``month`` are each caller's own, ``all_…`` all callers' together.

    ``tool_microusd`` is the most that one call of a paid tool costs, by name.
    """

    store: Budgets | None = None
    hour_microusd: int | None = None
    month_microusd: int | None = None
    session_microusd: int | None = None
    all_hour_microusd: int | None = None
    all_month_microusd: int | None = None
    tool_microusd: Mapping[str, int] = field(default_factory=dict[str, int])

    def allowances(self, caller: str, session_id: str | None) -> tuple[Allowance, ...]:
        """The budgets that a route of this caller and session is booked on."""
        hour, month, session = self.hour_microusd, self.month_microusd, self.session_microusd
        own = _configured(
            ("hour", hour, caller),
            ("month", month, caller),
            ("session", session if session_id else None, session_id or ""),
        )
        return (*own, *self.shared())

    def shared(self) -> tuple[Allowance, ...]:
        """The budgets that all callers draw on."""
        return _configured(
            ("hour", self.all_hour_microusd, EVERYBODY),
            ("month", self.all_month_microusd, EVERYBODY),
        )

    async def standings(self, caller: str, session_id: str | None) -> tuple[Standing, ...]:
        """How the budgets of a caller stand, those that others draw on too among them; none where none is configured."""
        return await self._stand(self.allowances(caller, session_id))

    async def overall(self) -> tuple[Standing, ...]:
        """How the budgets stand that all callers draw on; where there are none, those of who needs no credentials."""
        return await self._stand(self.shared() or self.allowances(LOCAL_CALLER, None))

    async def _stand(self, allowances: Sequence[Allowance]) -> tuple[Standing, ...]:
        return await self.store.standings(allowances) if self.store and allowances else ()

    def purse(
        self, caller: str, session_id: str | None, *, call_microusd: int | None = None, beyond_budgets: bool = False
    ) -> Purse | None:
        """What a route pays from, at most ``call_microusd`` in all; ``None`` where nothing limits it.

        ``beyond_budgets`` is booked on them as any other route is, and may exceed them: a person allowed it.
        """
        allowances = self.allowances(caller, session_id)
        if beyond_budgets:
            allowances = tuple(replace(allowance, cap_microusd=_NO_CAP) for allowance in allowances)
        if call_microusd is None and not (self.store and allowances):
            return None
        return Purse(
            store=self.store, allowances=allowances, call_microusd=call_microusd, tool_microusd=self.tool_microusd
        )


def _configured(*rows: tuple[BudgetPeriod, int | None, str]) -> tuple[Allowance, ...]:
    return tuple(
        Allowance(period=period, cap_microusd=cap, subject=subject) for period, cap, subject in rows if cap is not None
    )


def lowest(standings: Sequence[Standing]) -> Standing | None:
    """The budget of which less than `LOW_SHARE` is left, the emptiest where there are several."""
    low = [standing for standing in standings if _share_left(standing) < LOW_SHARE]
    return min(low, key=_share_left, default=None)


def spoken(standing: Standing) -> str:
    """One line for people: what is left of a budget."""
    left, cap = max(0, standing.left_microusd), standing.allowance.cap_microusd
    of_all = " of all callers" if standing.allowance.subject == EVERYBODY else ""
    return f"{spoken_usd(left)} of the {_NAMES[standing.allowance.period]}{of_all} of {spoken_usd(cap)} is left"


def _share_left(standing: Standing) -> float:
    cap = standing.allowance.cap_microusd
    return standing.left_microusd / cap if cap else 0.0


@dataclass(slots=True)
class Meter:
    """What calls hold and came to; the steps of one route share it, and wait for what the others of them hold."""

    held_microusd: int = 0
    spent_microusd: int = 0
    is_shared: bool = False
    settlements: int = 0
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    _settled: anyio.Event | None = None

    def settle(self, held: int, spent: int) -> None:
        """Book what a call came to, and wake whoever waits for its money."""
        self.held_microusd -= held
        self.spent_microusd += spent
        self.settlements += 1
        if self._settled is not None:
            self._settled.set()
            self._settled = None

    async def wait(self) -> None:
        """Wait until something is settled."""
        self._settled = self._settled or anyio.Event()
        await self._settled.wait()


@dataclass(slots=True, kw_only=True)
class Purse:
    """What one route pays from. ``notices`` is what its caller should be told; ``passed_over`` are models that did not fit.

    The calls of a route may run side by side, in one event loop.
    """

    store: Budgets | None
    allowances: tuple[Allowance, ...]
    call_microusd: int | None
    tool_microusd: Mapping[str, int] = field(default_factory=dict[str, int])
    notices: list[str] = field(default_factory=list[str])
    passed_over: set[str] = field(default_factory=set[str])
    meter: Meter = field(default_factory=Meter)
    _reasoning_tokens: int = field(default=0, init=False)

    def another(self) -> Purse:
        """A purse for a step of the route: the same money, notices of its own."""
        self.meter.is_shared = True
        return replace(self, notices=[], passed_over=set())

    async def reserve(self, quote: Quote) -> Hold:
        """Set money aside: all that the quote asks for, or as much of it as there is.

        Raises:
            BudgetExceeded: not even ``quote.least`` is left; it says of which budget, and when there is more.

        """
        if quote.most == 0:
            return FREE
        if not self.meter.is_shared:
            return await self._held(quote)
        while True:
            async with self.meter.turn:
                before = self.meter.settlements
                try:
                    return await self._held(quote)
                except BudgetExceeded:
                    if not self.meter.held_microusd and self.meter.settlements == before:
                        raise
            if self.meter.settlements == before:
                await self.meter.wait()  # a step beside this one has set aside what may be enough

    async def _held(self, quote: Quote) -> Hold:
        most = quote.most if self.call_microusd is None else min(quote.most, self._call_left)
        if most < quote.least:
            raise _call_exceeded(quote, self._call_left, self.call_microusd or 0)
        self.meter.held_microusd += most  # before the store is asked: calls side by side see it
        hold = FREE
        try:
            with anyio.CancelScope(shield=True):  # whoever is cancelled here must still know what to settle
                hold = await self._reserved(quote, most)
        except BaseException:
            self.meter.held_microusd -= most
            raise
        self.meter.held_microusd -= most - hold.microusd
        return hold

    async def reserve_call(
        self, model: Model, request: ModelRequest, counter: TokenCounter, *, expected_output: int
    ) -> tuple[Hold, ModelRequest]:
        """Set the worst case of a call aside; where only a shorter answer fits, the request returned asks for that.

        Raises:
            BudgetExceeded: not even a short answer fits, or the price of the model is unknown.

        """
        try:
            quote = quote_of(
                model,
                request,
                counter,
                expected_output=expected_output,
                reasoning_tokens=self._reasoning_tokens,
            )
            hold = await self.reserve(quote)
        except BudgetExceeded:
            self.passed_over.add(model.model_id)
            raise
        tokens = quote.tokens_for(hold.microusd)
        if tokens >= quote.output_tokens:
            return hold, request
        self.notices.append(
            f"The answer was limited to {tokens:,} tokens: no more of {model.model_id} fits {self._what_is_left(hold)}."
        )
        return hold, replace(request, max_output_tokens=tokens)

    def settle_call(self, hold: Hold, attempt: Attempt) -> None:
        """Book an attempt."""
        self._reasoning_tokens += attempt.usage.reasoning_tokens
        self.settle(hold, attempt.cost_microusd or 0)

    def settle(self, hold: Hold, microusd: int) -> None:
        """Book what a call came to."""
        if hold is FREE:
            return
        self.meter.settle(hold.microusd, microusd)
        if hold.reservation is not None and self.store is not None:
            self.store.settle(hold.reservation, microusd)

    def forget(self) -> None:
        """Forget what the calls so far tell of the next ones and of the answer; what they cost stays."""
        self.notices.clear()
        self.passed_over.clear()
        self._reasoning_tokens = 0

    def toolbox(self, inner: Toolbox) -> Toolbox:
        """The tools, the paid ones among them from this purse."""
        return PaidToolbox(inner=inner, purse=self) if any(self.tool_microusd.values()) else inner

    @property
    def left_microusd(self) -> int | None:
        """What of the call's own limit is not spent; ``None`` where it has none."""
        return None if self.call_microusd is None else max(0, self.call_microusd - self.meter.spent_microusd)

    @property
    def _call_left(self) -> int:
        return (self.call_microusd or 0) - self.meter.spent_microusd - self.meter.held_microusd

    async def _reserved(self, quote: Quote, most: int) -> Hold:
        if self.store is None or not self.allowances:
            return Hold(microusd=most)
        answer = await self.store.reserve(self.allowances, most=most, least=quote.least)
        if isinstance(answer, Standing):
            raise _exceeded(quote, answer)
        return Hold(microusd=answer.microusd, reservation=answer)

    def _what_is_left(self, hold: Hold) -> str:
        standings = hold.reservation.standings if hold.reservation else ()
        tightest = min(standings, key=lambda standing: standing.left_microusd, default=None)
        if tightest is not None and tightest.left_microusd <= hold.microusd:
            return f"the budget: {spoken(tightest)}"
        return f"max_cost_usd {spoken_usd(self.call_microusd)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidToolbox:
    """A `Toolbox` whose paid tools are reserved for and settled; one that does not fit is refused to the model."""

    inner: Toolbox
    purse: Purse

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        return self.inner.specs

    async def look(self) -> None:
        await self.inner.look()

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        price = self.purse.tool_microusd.get(name, 0)
        try:
            hold = await self.purse.reserve(tool_quote(name, price))
        except BudgetExceeded as refusal:
            return ToolOutcome(text=f"{name} was not run: {refusal}", is_error=True)
        cost = 0
        try:
            outcome = await self.inner.run(name, arguments, caller=caller)
            cost = outcome.cost_microusd
        finally:
            self.purse.settle(hold, cost)
        return outcome


def tool_quote(name: str, microusd: int) -> Quote:
    """The worst case of a paid tool's call."""
    return Quote(what=name, input_microusd=microusd, most=microusd, least=microusd, output_tokens=0)


def quote_of(
    model: Model, request: ModelRequest, counter: TokenCounter, *, expected_output: int, reasoning_tokens: int = 0
) -> Quote:
    """The worst case of a request on a model. ``reasoning_tokens`` are those of earlier rounds, which are sent again.

    Raises:
        BudgetExceeded: the price of the model is unknown.

    """
    allowed = min(request.max_output_tokens, model.max_output_tokens)
    allowed = 0 if request.texts else max(_FEWEST_OUTPUT, allowed)
    shortest = SHORTEST_REASONING if model.is_reasoning_model else SHORTEST_ANSWER
    floor = min(allowed, max(shortest, expected_output))
    tokens = most_input_tokens(request, counter, model.tokenizer) + reasoning_tokens
    costs = [worst_microusd(model.prices, tokens, output) for output in (0, floor, allowed)]
    if None in costs:
        raise BudgetExceeded(
            f"the price of {model.model_id} is unknown, so no budget can hold it. Give it prices in your registry.json, or "
            "force another model."
        )
    base, least, most = (cost or 0 for cost in costs)
    return Quote(what=model.model_id, input_microusd=base, most=most, least=least, output_tokens=allowed)


def worst_microusd(prices: PriceList, input_tokens: int, output_tokens: int, *, times: int = 1) -> int | None:
    """The most that ``times`` so many tokens can cost: nothing of the input cached, or all of it written to the cache."""
    plain = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    written = replace(plain, cache_write_tokens=input_tokens)
    costs = [cost_microusd(usage, prices, times=times) for usage in (plain, written)]
    return None if None in costs else max(cost or 0 for cost in costs)


def most_input_tokens(request: ModelRequest, counter: TokenCounter, tokenizer: str) -> int:
    """The most that a provider may count for the input: what we count, and a margin; `IMAGE_TOKENS` for each picture."""
    if request.texts:
        counts = [counter.count(text, tokenizer) for text in request.texts]
    else:
        schema = counter.count(json.dumps(request.response_schema) if request.response_schema else "", tokenizer)
        counts = [counter.count_messages(request.messages, request.system, request.tools, tokenizer), schema]
    exact = all(count.exact for count in counts)
    images = sum(len(message.images) for message in request.messages)
    return with_margin(sum(count.tokens for count in counts), exact=exact) + _FRAME_TOKENS + images * IMAGE_TOKENS


def with_margin(tokens: int, *, exact: bool) -> int:
    """The most that a provider may count where we count ``tokens``."""
    return round(tokens * (_MARGIN_EXACT if exact else _MARGIN_ESTIMATED))


def _exceeded(quote: Quote, standing: Standing) -> BudgetExceeded:
    left, variable = max(0, standing.left_microusd), _variable(standing.allowance)
    others = f" ({spoken_usd(standing.reserved_microusd)} is set aside for calls under way)"
    return BudgetExceeded(
        f"{spoken(standing)}{others if standing.reserved_microusd else ''}, and {quote.what} may need "
        f"{spoken_usd(quote.least)}. {_when(standing)}Raise {variable}, ask for less with max_tokens, or allow a "
        "cheaper model.",
        left_microusd=left,
        resets_at=standing.resets_at,
        negotiable=True,
    )


def _variable(allowance: Allowance) -> str:
    variable = _VARIABLES[allowance.period]
    return variable.replace("_", "_ALL_CALLERS_", 1) if allowance.subject == EVERYBODY else variable


def _when(standing: Standing) -> str:
    if standing.resets_at is None:
        return "A new session begins afresh: leave session_id out. "
    return f"It begins afresh at {datetime.fromtimestamp(standing.resets_at, UTC):%Y-%m-%d %H:%M} UTC. "


def _call_exceeded(quote: Quote, left: int, cap: int) -> BudgetExceeded:
    return BudgetExceeded(
        f"{spoken_usd(max(0, left))} of max_cost_usd {spoken_usd(cap)} is left, and {quote.what} may need "
        f"{spoken_usd(quote.least)}. Raise max_cost_usd, ask for less with max_tokens, or allow a cheaper model.",
        left_microusd=max(0, left),
    )
