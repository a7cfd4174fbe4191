"""Money set aside and booked: by the clock, in any order of calls, by many processes, and by killed ones."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from routing.state import LEASE_SECONDS, Allowance, Budgets, Reservation, ShadowAnswer, Standing
from routing.state.migrations import MIGRATIONS
from routing.state.sql_budgets import period_of
from routing.state.sqlite import SqliteStore
from routing.types import NO_USAGE, Attempt, RouteRecord, ToolUse, Usage
from tests.fakes import Clock
from tests.state.postgres_server import needs_postgres
from tests.state.stores import KINDS, place_of, store_at

if TYPE_CHECKING:
    from tests.state.stores import AnyStore

ROOT = Path(__file__).resolve().parent.parent.parent
NOON = 1_795_003_200.0 + 12 * 3_600
"""2026-11-18 12:00 UTC."""
HOUR = Allowance(period="hour", cap_microusd=100)
MONTH = Allowance(period="month", cap_microusd=150)
SESSION = Allowance(period="session", cap_microusd=60, subject="ses_a")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place_of(request.param, tmp_path)


@pytest.fixture
async def store(place: str, clock: Clock) -> AsyncGenerator[AnyStore]:
    async with store_at(place, wall_clock=clock, session_ttl_seconds=3_600) as opened:
        yield opened


async def granted(budgets: Budgets, microusd: int, *allowances: Allowance, least: int | None = None) -> Reservation:
    answer = await budgets.reserve(allowances, most=microusd, least=microusd if least is None else least)
    assert isinstance(answer, Reservation)
    return answer


async def refused(budgets: Budgets, microusd: int, *allowances: Allowance) -> Standing:
    answer = await budgets.reserve(allowances, most=microusd, least=microusd)
    assert isinstance(answer, Standing)
    return answer


async def figures(budgets: Budgets, allowance: Allowance) -> tuple[int, int]:
    await budgets.sweep()  # settling is queued: this comes behind it
    [standing] = await budgets.standings([allowance])
    return standing.spent_microusd, standing.reserved_microusd


def route(route_id: str, started_at: float, cost: int) -> RouteRecord:
    attempt = Attempt(
        model_id="acme/m",
        provider="acme",
        outcome="answered",
        started_at=started_at,
        latency_ms=1,
        usage=Usage(input_tokens=1, output_tokens=1),
        cost_microusd=cost,
    )
    return RouteRecord(
        route_id=route_id,
        caller="local",
        session_id="",
        started_at=started_at,
        latency_ms=1,
        outcome="completed",
        prompt_sha256="",
        attempts=(attempt,),
        cost_microusd=cost,
    )


@pytest.mark.anyio
async def test_money_set_aside_is_not_granted_twice_and_comes_back_when_it_was_not_needed(store: AnyStore) -> None:
    first = await granted(store.budgets, 70, HOUR)
    standing = await refused(store.budgets, 40, HOUR)
    assert (standing.left_microusd, standing.reserved_microusd) == (30, 70)

    store.budgets.settle(first, 10)

    await granted(store.budgets, 90, HOUR)
    assert await figures(store.budgets, HOUR) == (10, 90)


@pytest.mark.anyio
async def test_less_than_asked_for_is_granted_where_that_is_enough(store: AnyStore) -> None:
    await granted(store.budgets, 70, HOUR)
    assert (await granted(store.budgets, 50, HOUR, least=20)).microusd == 30


@pytest.mark.anyio
async def test_a_refusal_takes_nothing_from_any_budget_and_names_the_tightest(store: AnyStore) -> None:
    standing = await refused(store.budgets, 80, HOUR, MONTH, SESSION)

    assert standing.allowance == SESSION
    for allowance in (HOUR, MONTH, SESSION):
        assert await figures(store.budgets, allowance) == (0, 0)


@pytest.mark.anyio
async def test_an_hour_and_a_month_begin_afresh_by_the_utc_calendar_and_a_session_never(
    store: AnyStore, clock: Clock
) -> None:
    for allowance in (HOUR, MONTH, SESSION):
        store.budgets.settle(await granted(store.budgets, 60, allowance), 60)
    assert (await refused(store.budgets, 50, HOUR)).resets_at == NOON + 3_600

    clock.now += 3_600
    assert await figures(store.budgets, HOUR) == (0, 0)
    assert await figures(store.budgets, MONTH) == (60, 0)
    clock.now += 13 * 86_400
    assert await figures(store.budgets, MONTH) == (0, 0)
    assert (await refused(store.budgets, 1, SESSION)).resets_at is None


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (NOON, 1_793_491_200, 1_796_083_200),  # November 2026
        (1_798_761_599.9, 1_796_083_200, 1_798_761_600),  # the last moment of December
        (1_798_761_600.0, 1_798_761_600, 1_801_440_000),  # the first of January
    ],
)
def test_a_month_ends_where_the_next_one_begins(now: float, start: int, end: int) -> None:
    assert period_of("month", now) == (start, end)


@pytest.mark.anyio
async def test_a_call_is_booked_on_the_hour_in_which_it_was_reserved(store: AnyStore, clock: Clock) -> None:
    late = await granted(store.budgets, 50, HOUR)
    clock.now += 3_600
    store.budgets.settle(late, 40)
    assert await figures(store.budgets, HOUR) == (0, 0)
    clock.now -= 3_600
    assert await figures(store.budgets, HOUR) == (40, 0)


@pytest.mark.anyio
async def test_what_a_dead_process_had_set_aside_is_free_again_once_its_lease_is_over(
    place: str, store: AnyStore, clock: Clock
) -> None:
    async with store_at(place, wall_clock=clock) as doomed:
        await granted(doomed.budgets, 100, HOUR)
    clock.now += LEASE_SECONDS - 1
    await refused(store.budgets, 1, HOUR)
    clock.now += 1

    await granted(store.budgets, 100, HOUR)
    assert await figures(store.budgets, HOUR) == (0, 100)


@pytest.mark.anyio
async def test_a_call_that_takes_long_keeps_what_it_has_set_aside(store: AnyStore, clock: Clock) -> None:
    long = await granted(store.budgets, 100, HOUR)
    clock.now += LEASE_SECONDS - 1
    await store.budgets.renew()
    clock.now += LEASE_SECONDS - 1

    assert await store.budgets.sweep() == 0
    store.budgets.settle(long, 30)
    assert await figures(store.budgets, HOUR) == (30, 0)


@pytest.mark.anyio
async def test_a_bill_that_comes_after_its_lease_is_booked_once_all_the_same(store: AnyStore, clock: Clock) -> None:
    late = await granted(store.budgets, 80, HOUR)
    clock.now += LEASE_SECONDS
    await granted(store.budgets, 20, HOUR)
    assert await figures(store.budgets, HOUR) == (0, 20)
    store.budgets.settle(late, 70)
    store.budgets.settle(late, 70)

    await refused(store.budgets, 11, HOUR)
    assert await figures(store.budgets, HOUR) == (70, 20)


@pytest.mark.anyio
async def test_a_settlement_is_written_soon_although_nothing_else_is(store: AnyStore) -> None:
    store.budgets.settle(await granted(store.budgets, 80, HOUR), 70)
    with anyio.fail_after(5):
        while (await store.budgets.standings([HOUR]))[0].spent_microusd != 70:
            pass


@pytest.mark.anyio
async def test_a_settlement_is_not_lost_when_the_store_is_closed_behind_it(place: str, clock: Clock) -> None:
    async with store_at(place, wall_clock=clock) as store:
        store.budgets.settle(await granted(store.budgets, 80, HOUR), 70)
    async with store_at(place, wall_clock=clock) as again:
        assert await figures(again.budgets, HOUR) == (70, 0)


@pytest.mark.anyio
async def test_a_budget_that_is_set_in_the_middle_of_a_month_counts_what_was_spent_before(
    store: AnyStore, clock: Clock
) -> None:
    await store.ledger.record(route("rte_last_month", NOON - 30 * 86_400, 1_000))
    await store.ledger.record(route("rte_yesterday", NOON - 86_400, 30))
    await store.ledger.record(route("rte_now", NOON, 20))
    search = ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=5)
    await store.ledger.record_tool("local", search, NOON)
    await store.ledger.record_shadow(
        ShadowAnswer(
            route_id="rte_now",
            caller="local",
            model_id="zeta/other",
            provider="zeta",
            category="qa_retrieval",
            started_at=NOON,
            latency_ms=1,
            outcome="answered",
            usage=NO_USAGE,
            cost_microusd=3,
        )
    )

    assert (await refused(store.budgets, 96, MONTH)).spent_microusd == 58
    store.budgets.settle(await granted(store.budgets, 72, HOUR, MONTH), 70)
    assert await figures(store.budgets, HOUR) == (98, 0)
    assert await figures(store.budgets, MONTH) == (128, 0)


@pytest.mark.anyio
async def test_budgets_of_the_past_are_forgotten_and_those_in_use_are_not(store: AnyStore, clock: Clock) -> None:
    store.budgets.settle(await granted(store.budgets, 50, SESSION), 50)
    clock.now += 61 * 86_400
    assert await figures(store.budgets, SESSION) == (50, 0)
    clock.now += 2 * 86_400
    await store.budgets.sweep()  # any write lets the store keep house
    await store.sessions.start("local")

    assert await figures(store.budgets, SESSION) == (0, 0)


# ── Whatever the order of calls ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Model:
    """What ought to be in the store."""

    spent: dict[Allowance, int] = field(default_factory=dict[Allowance, int])
    open: dict[str, tuple[Reservation, tuple[Allowance, ...], float]] = field(
        default_factory=dict[str, tuple[Reservation, tuple[Allowance, ...], float]]
    )

    def reserved(self, allowance: Allowance) -> int:
        return sum(one.microusd for one, allowances, _ in self.open.values() if allowance in allowances)


class BudgetMachine(RuleBasedStateMachine):
    """Reservations of two processes on three budgets, settled, left to expire, or left by a crash, in any order."""

    reservations = Bundle("reservations")

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock(NOON)
        self.stores = [self.opened(), self.opened()]
        self.model = Model(spent=dict.fromkeys((HOUR, MONTH, SESSION), 0))
        self.places: dict[str, int] = {}
        self.orphans: set[str] = set()
        self.ends = 0
        self.begun = 0

    kind = "sqlite"

    def opened(self) -> AnyStore:
        store = store_at(place_of(self.kind, Path(self.folder.name)), wall_clock=self.clock)
        self.loop.run_until_complete(store.open())
        return store

    @rule(
        target=reservations,
        place=st.sampled_from([0, 1]),
        allowances=st.sampled_from([(HOUR,), (MONTH,), (HOUR, MONTH), (HOUR, MONTH, SESSION)]),
        most=st.integers(1, 60),
        share=st.floats(0, 1),
    )
    def reserve(
        self, place: int, allowances: tuple[Allowance, ...], most: int, share: float
    ) -> tuple[int, Reservation] | None:
        least = max(1, round(most * share))
        self._expire()
        left = min(one.cap_microusd - self.model.spent[one] - self.model.reserved(one) for one in allowances)
        answer = self.loop.run_until_complete(self.stores[place].budgets.reserve(allowances, most=most, least=least))
        assert isinstance(answer, Reservation) == (left >= least)
        if isinstance(answer, Standing):
            return None
        assert answer.microusd == min(most, left)
        self.begun += 1
        self.places[answer.reservation_id] = place
        self.model.open[answer.reservation_id] = (answer, allowances, self.clock.now + LEASE_SECONDS)
        return place, answer

    @rule(one=consumes(reservations), share=st.floats(0, 1), times=st.integers(1, 2))
    def settle(self, one: tuple[int, Reservation] | None, share: float, times: int) -> None:
        if one is None or one[1].reservation_id not in self.model.open or one[1].reservation_id in self.orphans:
            return  # refused, expired (a late bill has a test of its own), or nobody is there to settle it
        place, reservation = one
        cost = round(reservation.microusd * share)
        self.loop.run_until_complete(self.settled(place, reservation, cost, times))
        for allowance in self.model.open.pop(reservation.reservation_id)[1]:
            self.model.spent[allowance] += cost
        self.ends += 1

    async def settled(self, place: int, reservation: Reservation, cost: int, times: int) -> None:
        for _ in range(times):
            self.stores[place].budgets.settle(reservation, cost)
        await self.stores[place].budgets.sweep()

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS / 2, LEASE_SECONDS]))
    def wait(self, seconds: float) -> None:
        if self.clock.now + seconds < NOON + 3_600:
            self.clock.now += seconds

    @rule(place=st.sampled_from([0, 1]))
    def restart(self, place: int) -> None:
        self.loop.run_until_complete(self.stores[place].aclose())
        self.stores[place] = self.opened()
        self.orphans |= {name for name, at in self.places.items() if at == place}

    @invariant()
    def nothing_is_overshot_and_every_reservation_ends_once(self) -> None:
        self._expire()
        for allowance in (HOUR, MONTH, SESSION):
            spent, reserved = self.loop.run_until_complete(figures(self.stores[0].budgets, allowance))
            assert spent + reserved <= allowance.cap_microusd
            assert (spent, reserved) == (self.model.spent[allowance], self.model.reserved(allowance))
        assert self.begun == self.ends + len(self.model.open)

    def _expire(self) -> None:
        gone = [name for name, (_, _, until) in self.model.open.items() if until <= self.clock.now]
        for name in gone:
            del self.model.open[name]
            self.ends += 1

    def teardown(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.aclose())
        self.loop.close()
        self.folder.cleanup()


class PostgresBudgetMachine(BudgetMachine):
    """The same of two processes on one server."""

    kind = "postgres"


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestPostgresBudgetMachine = needs_postgres(PostgresBudgetMachine.TestCase)
TestPostgresBudgetMachine.settings = settings(max_examples=5, stateful_step_count=15, deadline=None)


# ── Many processes ────────────────────────────────────────────────────────────────────────────────────────────────────

SPENDER = """
import asyncio, sys
from pathlib import Path
from routing.state import Allowance, Reservation
from tests.state.stores import store_at

async def main(place, reservations, cap):
    allowances = [Allowance(period="session", cap_microusd=cap, subject="all")]
    grants = 0
    async with store_at(place) as store:
        for _ in range(reservations // 10):
            answers = await asyncio.gather(*(store.budgets.reserve(allowances, most=3, least=3) for _ in range(10)))
            for answer in answers:
                if isinstance(answer, Reservation):
                    grants += 1
                    store.budgets.settle(answer, 3)
    print(grants)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.anyio
async def test_eight_processes_get_exactly_as_many_grants_as_the_budget_holds(place: str, store: AnyStore) -> None:
    cap = 3 * 1_000 + 2
    command = [sys.executable, "-c", SPENDER, place, "200", str(cap)]

    assert sum(outputs_of(command, processes=8)) == 1_000
    everything = Allowance(period="session", cap_microusd=cap, subject="all")
    assert await figures(store.budgets, everything) == (3_000, 0)


def outputs_of(command: list[str], *, processes: int) -> list[int]:
    """The number that each of the processes prints."""
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [int(process.communicate()[0]) for process in running]


VICTIM = """
import asyncio, sys
from pathlib import Path
from routing.state import Allowance, Reservation
from tests.state.stores import store_at
from tests.state.test_budgets import route

async def pay(store, worker):
    allowances = [Allowance(period="session", cap_microusd=10**9, subject="all")]
    number = 0
    while True:
        reservation = await store.budgets.reserve(allowances, most=50, least=50)
        store.budgets.settle(reservation, 7)
        number += 1
        name = f"rte_{sys.argv[2]}_{worker}_{number}"
        await store.ledger.record(route(name, 1.0, 7))
        print(name, flush=True)

async def main(place):
    async with store_at(place) as store:
        await asyncio.gather(*(pay(store, worker) for worker in range(4)))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.anyio
async def test_a_process_that_is_killed_loses_no_acknowledged_row_and_blocks_nothing_past_its_lease(
    place: str,
) -> None:
    acknowledged = [name for life in range(3) for name in killed_after(place, life, 10 + 7 * life)]
    after = Clock(time.time() + LEASE_SECONDS)

    async with store_at(place, wall_clock=after) as survivor:
        for name in acknowledged:
            assert (await survivor.ledger.route(name, "local")).cost_microusd == 7
        everything = Allowance(period="session", cap_microusd=10**9, subject="all")
        spent, reserved = await figures(survivor.budgets, everything)
        booked = (await survivor.ledger.totals("local")).cost_microusd
    assert reserved == 0
    assert spent >= booked >= 7 * len(acknowledged)


def killed_after(place: str, life: int, acknowledgements: int) -> list[str]:
    """What a process was told to be on the disk before it was killed under load."""
    command = [sys.executable, "-c", VICTIM, place, str(life)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        names = [victim.stdout.readline().strip() for _ in range(acknowledgements)]
        os.kill(victim.pid, signal.SIGKILL)
        rest = victim.stdout.read().splitlines(keepends=True)
    return [*names, *(line.strip() for line in rest if line.endswith("\n"))]


@pytest.mark.anyio
async def test_a_call_stands_on_its_callers_budget_and_on_that_of_all(store: AnyStore) -> None:
    ann, bob, everybody = (Allowance(period="month", cap_microusd=100, subject=name) for name in ("ann", "bob", ""))
    first = await granted(store.budgets, 70, ann, everybody)
    assert (await refused(store.budgets, 40, bob, everybody)).allowance == everybody
    await granted(store.budgets, 30, bob, everybody)

    store.budgets.settle(first, 60)

    assert await figures(store.budgets, ann) == (60, 0)
    assert await figures(store.budgets, bob) == (0, 30)
    assert await figures(store.budgets, everybody) == (60, 30)


@pytest.mark.anyio
async def test_a_callers_new_budget_counts_what_it_spent_before_and_no_other_did(store: AnyStore, clock: Clock) -> None:
    await store.ledger.record(replace(route("rte_1", clock(), 30), caller="ann"))
    await store.ledger.record(replace(route("rte_2", clock(), 50), caller="bob"))
    search = ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=5)
    await store.ledger.record_tool("ann", search, clock())

    spent = {name: await figures(store.budgets, replace(MONTH, subject=name)) for name in ("ann", "bob", "carl", "")}

    assert spent == {"ann": (35, 0), "bob": (50, 0), "carl": (0, 0), "": (85, 0)}


@pytest.mark.anyio
async def test_what_an_older_version_had_set_aside_is_still_set_aside(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "old.db"
    before = next(number for number, step in enumerate(MIGRATIONS) if "reservations_before" in step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routing.state.sqlite.MIGRATIONS", MIGRATIONS[:before])
        async with SqliteStore(path, wall_clock=clock, session_ttl_seconds=3_600):
            pass
    starts = {period: period_of(period, clock())[0] for period in ("hour", "month")}
    old = apsw.Connection(str(path))
    for period, start in starts.items():
        old.execute("INSERT INTO budgets VALUES (?, '', ?, 0, 0, ?)", (period, start, clock()))
        lease = (period, start, clock() + LEASE_SECONDS)
        old.execute("INSERT INTO reservations VALUES ('rsv_old', ?, '', ?, 40, ?)", lease)
    old.close()
    async with SqliteStore(path, wall_clock=clock, session_ttl_seconds=3_600) as new:
        assert await figures(new.budgets, HOUR) == (0, 40)
        clock.now += LEASE_SECONDS + 1
        assert await figures(new.budgets, HOUR) == (0, 0)
