"""Limits and breakers that several processes share.

    Exchange         where processes meet: Redis (`sharing_redis`) or PostgreSQL (`sharing_postgres`); it may fail or hang
    Sharing          this process's part in it, for as long as the server runs
      .shared_gate   a gate whose limits of a minute are all processes' together
      .join          a breaker that tells the others, and hears of them

Whatever the exchange does, no call waits for it longer than `PATIENCE_SECONDS`. Where it cannot be reached, each process goes
on with breakers of its own and its share of the limits: the limit by the number of processes seen last. The log says so once,
and once more when it is over. Nothing here is worth keeping: after a restart of the exchange all begins afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from routing.dispatch.breaker import Breaker, Turn
from routing.dispatch.limits import MINUTE, Gate, LocalFlow
from routing.patience import abandon, within
from routing.state.handles import new_handle

PATIENCE_SECONDS = 0.5
"""How long a call waits for the exchange at most."""

PROBE_SECONDS = 30.0
"""How long the probe of a half-open breaker is one process's, should it not say what came of it."""

SEEN_LATELY_SECONDS = 15.0
"""A process counts as there for so long after it was seen last."""

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 5.0
_SECONDS_BETWEEN_TRIES = 1.0
_CONNECTING_SECONDS = 5.0
_MOST_UNSENT = 1_000
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What one process found out and all should know: for ``seconds`` from now on it is as ``kind`` says.

    A breaker of this name opened (after a rest of ``rest`` seconds it is half-open), closed, or its probe is free again; a
    provider of this name is blocked.
    """

    kind: Literal["opened", "closed", "released", "blocked"]
    name: str
    seconds: float = 0.0
    rest: float = 0.0


class Exchange(Protocol):
    """Where processes meet. Seconds are by the exchange's own clock, so theirs need not agree."""

    async def take(self, name: str, seconds: tuple[float, float], *, patience: float) -> float:
        """Take from the flows of a name: of requests and of tokens, each as the seconds in which so much flows in.

        A flow holds a minute's worth. Returns how long to wait until all has flowed in; where that is over ``patience``,
        nothing was taken.
        """
        ...

    async def give_back(self, name: str, seconds: tuple[float, float]) -> None:
        """Undo a `take`."""
        ...

    async def post(self, hint: Hint) -> None:
        """Tell all others, and those who come while it holds."""
        ...

    async def probe(self, name: str, seconds: float) -> bool:
        """Take the probe of a breaker for so long; false where another has it."""
        ...

    def hints(self) -> AsyncGenerator[Hint]:
        """What holds now, and from then on what the others post."""
        ...

    async def attend(self) -> int:
        """Give a sign of life, and return how many processes were seen lately, this one included."""
        ...


Connect = Callable[[str], AbstractAsyncContextManager[Exchange]]
"""Opens an exchange for a process of that id; whatever goes wrong with it is raised from its methods."""


class Sharing:
    """What one process has of an exchange; entered for as long as the server runs. ``where`` names it in the log."""

    def __init__(self, connect: Connect, *, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._where = where
        self._clock = clock
        self._process = new_handle("prc")
        self._exchange: Exchange | None = None
        self._processes = 1
        self._is_told: bool | None = None
        self._tried = asyncio.Event()
        self._broken = asyncio.Event()
        self._unsent: deque[Hint | tuple[str, tuple[float, float]]] = deque(maxlen=_MOST_UNSENT)
        self._something = asyncio.Event()
        self._gates: dict[str, Gate] = {}
        self._flows: list[SharedFlow] = []
        self._breakers: dict[str, Breaker] = {}
        self._held: dict[tuple[str, str], tuple[float, Hint]] = {}
        self._life: asyncio.Task[None] | None = None

    @property
    def processes(self) -> int:
        """How many processes were seen when the exchange could be reached last."""
        return self._processes

    @property
    def is_connected(self) -> bool:
        """Whether the exchange can be reached."""
        return self._exchange is not None

    @property
    def told(self) -> str:
        """One line for people: how it stands."""
        if self.is_connected:
            return f"limits and breakers shared by {self._where}, servers seen lately: {self._processes}"
        return f"{self._where} cannot be reached: alone, at 1/{self._processes} of each limit"

    def shared_gate(self, provider_id: str, gate: Gate) -> Gate:
        """The gate with the limits of all processes together; it hears when the provider blocks one of them."""
        flow = SharedFlow(self, provider_id, gate)
        shared = replace(gate, flow=flow, tell_blocked=partial(self._post_blocked, provider_id))
        self._flows.append(flow)
        self._gates[provider_id] = shared
        flow.local.divide_by(self._processes)
        self._catch_up("blocked", provider_id)
        return shared

    def join(self, name: str, breaker: Breaker) -> None:
        """Have a breaker hear of the others of its name, and them of it."""
        breaker.tell = partial(self._post_turn, name)
        breaker.ask_to_probe = partial(self._probe, name)
        self._breakers[name] = breaker
        self._catch_up("opened", name)

    async def take(self, name: str, seconds: tuple[float, float], *, patience: float) -> float | None:
        """As the exchange's; ``None`` where it cannot be reached."""
        return await self._ask(lambda exchange: exchange.take(name, seconds, patience=patience))

    def give_back(self, name: str, seconds: tuple[float, float]) -> None:
        """As the exchange's, soon."""
        self._send((name, seconds))

    async def __aenter__(self) -> Self:
        self._life = asyncio.create_task(self._live())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])

    async def _probe(self, name: str) -> bool:
        """Ask for the probe; where nobody can be asked, it is this process's."""
        return await self._ask(lambda exchange: exchange.probe(name, PROBE_SECONDS)) is not False

    async def _ask(self, question: Callable[[Exchange], Coroutine[None, None, _T]]) -> _T | None:
        """What the exchange says, ``None`` where it says nothing in time."""
        if not self._tried.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), PATIENCE_SECONDS)
        exchange = self._exchange
        if exchange is None:
            return None
        try:
            return await within(PATIENCE_SECONDS, question(exchange))
        except Exception as problem:  # noqa: BLE001 - an exchange may fail in any way
            self._lost(exchange, problem)
            return None

    def _lost(self, exchange: Exchange, problem: BaseException) -> None:
        """Go on alone from now on."""
        if self._exchange is exchange:
            self._exchange = None
            self._say(problem)
            self._broken.set()

    def _say(self, problem: BaseException | None) -> None:
        """One line for each change."""
        is_shared = problem is None
        if is_shared == self._is_told or (is_shared and self._is_told is None):
            return
        self._is_told = is_shared
        if is_shared:
            _log.warning("limits and breakers are shared again by %s", self._where)
        else:
            _log.warning(
                "%s cannot be reached (%s): limits and breakers are this process's own, at 1/%d of each limit",
                self._where,
                type(problem).__name__,
                self._processes,
            )

    async def _live(self) -> None:
        """Connect, and connect anew after each loss."""
        while True:
            self._broken.clear()
            try:
                await self._meet()
            except Exception as problem:  # noqa: BLE001 - an exchange may fail in any way, and is tried again
                self._exchange = None
                self._say(problem)
            self._tried.set()
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)

    async def _meet(self) -> None:
        """One connection, until it breaks."""
        opening = self._connect(self._process)
        exchange = await within(_CONNECTING_SECONDS, opening.__aenter__())
        try:
            self._count(await within(_CONNECTING_SECONDS, exchange.attend()))
            self._exchange = exchange
            self._say(None)
            self._is_told = True
            self._tried.set()
            self._post_all()
            await self._keep_meeting(exchange)
        finally:
            self._exchange = None
            with contextlib.suppress(Exception):  # it is broken already, or nobody needs it any more
                await within(PATIENCE_SECONDS, opening.__aexit__(None, None, None))

    async def _keep_meeting(self, exchange: Exchange) -> None:
        parts = (self._listen(exchange), self._speak(exchange), self._attend(exchange), self._broken.wait())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if problem := task.exception():
                    self._lost(exchange, problem)
        finally:
            for task in tasks:
                abandon(task)

    async def _listen(self, exchange: Exchange) -> None:
        async with contextlib.aclosing(exchange.hints()) as hints:
            async for hint in hints:
                self._hear(hint)

    async def _speak(self, exchange: Exchange) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while self._unsent:
                match self._unsent[0]:
                    case Hint() as hint:
                        await within(PATIENCE_SECONDS, exchange.post(hint))
                    case (name, seconds):
                        await within(PATIENCE_SECONDS, exchange.give_back(name, seconds))
                self._unsent.popleft()

    async def _attend(self, exchange: Exchange) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_SIGNS_OF_LIFE)
            self._count(await within(PATIENCE_SECONDS, exchange.attend()))

    def _count(self, processes: int) -> None:
        self._processes = max(1, processes)
        for flow in self._flows:
            flow.local.divide_by(self._processes)

    def _hear(self, hint: Hint) -> None:
        self._held.pop(("opened" if hint.kind == "closed" else hint.kind, hint.name), None)
        if hint.seconds > 0:
            self._held[hint.kind, hint.name] = (self._clock() + hint.seconds, hint)
        self._apply(hint)

    def _apply(self, hint: Hint) -> None:
        breaker = self._breakers.get(hint.name)
        match hint.kind:
            case "opened" if breaker is not None:
                breaker.heard_open(hint.seconds, hint.rest)
            case "closed" if breaker is not None:
                breaker.heard_closed()
            case "blocked" if gate := self._gates.get(hint.name):
                gate.heard_blocked(hint.seconds)
            case _:  # of a model or provider that was not asked here yet
                pass

    def _catch_up(self, kind: Literal["opened", "blocked"], name: str) -> None:
        """Apply what was heard of a name before there was anything to apply it to."""
        until, hint = self._held.get((kind, name), (0.0, None))
        left = until - self._clock()
        if hint is not None and left > 0:
            self._apply(replace(hint, seconds=left))

    def _post_turn(self, name: str, turn: Turn, seconds: float) -> None:
        self._held.pop(("opened", name), None)
        self._send(Hint(kind=turn, name=name, seconds=seconds, rest=seconds))

    def _post_blocked(self, provider_id: str, seconds: float) -> None:
        self._send(Hint(kind="blocked", name=provider_id, seconds=seconds))

    def _post_all(self) -> None:
        """Tell what was found out alone; what was to be given back meanwhile was taken from another connection's flows."""
        self._unsent.clear()
        for name, breaker in self._breakers.items():
            if breaker.rests_for > 0:
                self._post_turn(name, "opened", breaker.rests_for)

    def _send(self, message: Hint | tuple[str, tuple[float, float]]) -> None:
        if self._exchange is not None:
            self._unsent.append(message)
            self._something.set()


class SharedFlow:
    """The limits of all processes together; of this one alone, at its share of them, while the others cannot be reached."""

    def __init__(self, sharing: Sharing, name: str, gate: Gate) -> None:
        self._sharing = sharing
        self._name = name
        self._requests = gate.requests_per_minute
        self._tokens = gate.tokens_per_minute
        self.local = LocalFlow(
            requests_per_minute=gate.requests_per_minute, tokens_per_minute=gate.tokens_per_minute, clock=gate.clock
        )

    async def take(self, tokens: int, *, patience: float) -> float:
        if not (self._requests or self._tokens):
            return 0.0
        wait = await self._sharing.take(self._name, self._seconds(tokens), patience=patience)
        if wait is None:
            return await self.local.take(tokens, patience=patience)
        if wait <= patience:
            self.local.note(tokens)  # so that nobody has a second helping when the exchange is lost
        return wait

    def give_back(self, tokens: int) -> None:
        self.local.give_back(tokens)
        self._sharing.give_back(self._name, self._seconds(tokens))

    def _seconds(self, tokens: int) -> tuple[float, float]:
        return (_seconds_of(1, self._requests), _seconds_of(tokens, self._tokens))


def _seconds_of(amount: int, per_minute: int | None) -> float:
    """How long it takes until so much has flowed in. More than a minute's worth is let through by a full flow."""
    return MINUTE * min(amount, per_minute) / per_minute if per_minute else 0.0
