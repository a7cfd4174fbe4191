"""The ledger in SQL: each method names its job, which runs inside a transaction that `Tables` opened."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from routing.errors import UnknownHandle
from routing.state import NO_SUCH_ROUTE, LedgerTotals, ModelHealth, ShadowAnswer, Turn
from routing.state.columns import json_text, restored, stored
from routing.state.sql_sessions import SqlSessions
from routing.state.tables import Connection, Job, Row, Tables, insert_into
from routing.types import (
    Attempt,
    Finding,
    ModelSelection,
    Rejection,
    RouteRecord,
    TaskAnalysis,
    ToolUse,
    Usage,
    VerificationStep,
)


class Documents(Protocol):
    """What is kept of a route as documents, as far as a database may want to have it in columns too."""

    @property
    def analysis(self) -> TaskAnalysis | None: ...

    @property
    def selection(self) -> ModelSelection | None: ...

    @property
    def verification(self) -> Sequence[VerificationStep]: ...


def _nothing_more(_: Documents) -> Row:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlLedger:
    """The `routing.state.Ledger` in ``database``.

    ``told`` gives the columns of a route that this database cannot work out from the route's documents by itself.
    """

    database: Tables
    sessions: SqlSessions
    told: Callable[[Documents], Row] = _nothing_more

    async def record(self, route: RouteRecord, turn: Turn | None = None) -> bool:
        joined = None if turn is None else self.sessions.joined(route.session_id, route.caller, turn)
        job = partial(_insert_route_and_turn, route=route, turn=joined, told=self.told(route))
        return await self.database.write(job, durable=False)

    async def record_tool(self, caller: str, use: ToolUse, started_at: float) -> None:
        row = {**asdict(use), "caller": stored(caller), "started_at": started_at}
        await self.database.write(partial(_insert_tool_call, row=row))

    async def record_shadow(self, shadow: ShadowAnswer) -> None:
        names = [part.name for part in fields(ShadowAnswer) if part.name != "usage"]
        row: Row = {**{name: stored(getattr(shadow, name)) for name in names}, **asdict(shadow.usage)}
        await self.database.write(partial(_insert_shadow, row=row))

    async def route(self, route_id: str, caller: str) -> RouteRecord:
        return await self.database.read(partial(_select_route, route_id=route_id, caller=caller))

    async def recent(self, caller: str, limit: int) -> tuple[RouteRecord, ...]:
        return await self.database.read(partial(_select_recent, caller=caller, limit=limit))

    async def totals(self, caller: str, since: float | None = None) -> LedgerTotals:
        return await self.database.read(partial(_select_totals, caller=caller, since=since))

    async def health(self, caller: str, since: float) -> tuple[ModelHealth, ...]:
        return await self.database.read(partial(_select_health, caller=caller, since=since))


_INSERT_ATTEMPT = """
INSERT INTO attempts (route_id, position, model_id, provider, outcome, started_at, latency_ms, first_token_ms, finish_reason,
  error, cost_microusd, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated)
VALUES (:route_id, :position, :model_id, :provider, :outcome, :started_at, :latency_ms, :first_token_ms, :finish_reason,
  :error, :cost_microusd, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens, :reasoning_tokens,
  :estimated)
"""

_INSERT_TOOL_CALL = """
INSERT INTO tool_calls (caller, name, started_at, latency_ms, is_error, cost_microusd)
VALUES (:caller, :name, :started_at, :latency_ms, :is_error, :cost_microusd)
"""

_INSERT_SHADOW = """
INSERT INTO shadows (route_id, caller, model_id, provider, category, started_at, latency_ms, outcome, agreement, cost_microusd,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated)
VALUES (:route_id, :caller, :model_id, :provider, :category, :started_at, :latency_ms, :outcome, :agreement, :cost_microusd,
  :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens, :reasoning_tokens, :estimated)
"""

_ROUTE_COLUMNS = """
SELECT route_id, caller, session_id, started_at, latency_ms, outcome, prompt_sha256, model_used, finish_reason,
  cost_microusd, baseline_model, baseline_cost_microusd, error, usage, notices, tools, analysis, selection,
  verification, parent_id, cached, prompt, pattern
FROM routes
"""

_SELECT_ROUTE = f"{_ROUTE_COLUMNS} WHERE route_id = :route_id AND caller = :caller"
_SELECT_RECENT = f"{_ROUTE_COLUMNS} WHERE caller = :caller ORDER BY started_at DESC, id DESC LIMIT :limit"

_SELECT_ATTEMPTS = """
SELECT model_id, provider, outcome, started_at, latency_ms, first_token_ms, finish_reason, error, cost_microusd,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated
FROM attempts WHERE route_id = :route_id ORDER BY position
"""

_SUM_ROUTES = """
SELECT count(*) FILTER (WHERE pattern IS NULL) AS routes, coalesce(sum(baseline_cost_microusd), 0) AS baseline_microusd,
  coalesce(sum(tools_microusd), 0) AS tools_microusd
FROM routes WHERE caller = :caller AND started_at >= :since
"""

_SUM_ATTEMPTS = """
SELECT count(*) AS attempts,
  coalesce(sum(attempts.input_tokens), 0) AS input_tokens,
  coalesce(sum(attempts.output_tokens), 0) AS output_tokens,
  coalesce(sum(attempts.cost_microusd), 0) AS cost_microusd,
  count(*) - count(attempts.cost_microusd) AS unpriced_attempts
FROM routes JOIN attempts USING (route_id) WHERE routes.caller = :caller AND routes.started_at >= :since
"""

_SUM_BESIDE = """
SELECT (SELECT coalesce(sum(cost_microusd), 0) FROM tool_calls WHERE caller = :caller AND started_at >= :since)
  + (SELECT coalesce(sum(cost_microusd), 0) FROM shadows WHERE caller = :caller AND started_at >= :since) AS cost_microusd
"""

_SELECT_HEALTH = """
SELECT attempts.model_id, attempts.outcome, attempts.started_at, attempts.latency_ms, attempts.first_token_ms, attempts.error
FROM routes JOIN attempts USING (route_id) WHERE routes.caller = :caller AND routes.started_at >= :since
ORDER BY attempts.model_id, attempts.started_at, routes.id, attempts.position
"""

_DOCUMENTS = ("usage", "notices", "tools", "analysis", "selection", "verification")
_USAGE_COLUMNS = tuple(part.name for part in fields(Usage))
_ROUTE_SCALARS = tuple(
    part.name
    for part in fields(RouteRecord)
    if part.name not in {*_DOCUMENTS, "attempts", "text", "images", "embeddings", "steps"}
)
_ATTEMPT_SCALARS = tuple(part.name for part in fields(Attempt) if part.name != "usage")


async def _insert_route_and_turn(
    connection: Connection, *, route: RouteRecord, turn: Job[object] | None, told: Row
) -> bool:
    await connection.lock(
        [f"caller {stored(route.caller)}"]
    )  # its sums grow row by row, in an order of the route's own
    await _insert_route(connection, route=route, told=told)
    if turn is None:
        return True
    return await connection.tried(turn, what=f"route {route.route_id} could not be added to its session")


async def _insert_route(connection: Connection, *, route: RouteRecord, told: Row) -> None:
    scalars = {name: stored(getattr(route, name)) for name in _ROUTE_SCALARS}
    documents = {name: None if (value := getattr(route, name)) is None else json_text(value) for name in _DOCUMENTS}
    tools = sum(use.cost_microusd for use in route.tools)
    row = {**scalars, **documents, "tools_microusd": tools, **told}
    await connection.run(insert_into("routes", tuple(row)), row)
    await connection.executemany(
        _INSERT_ATTEMPT,
        [
            {
                **{name: stored(getattr(attempt, name)) for name in _ATTEMPT_SCALARS},
                **{name: getattr(attempt.usage, name) for name in _USAGE_COLUMNS},
                "route_id": scalars["route_id"],
                "position": position,
            }
            for position, attempt in enumerate(route.attempts)
        ],
    )


async def _insert_tool_call(connection: Connection, *, row: Row) -> None:
    await connection.run(_INSERT_TOOL_CALL, row)


async def _insert_shadow(connection: Connection, *, row: Row) -> None:
    await connection.run(_INSERT_SHADOW, row)


async def _select_route(connection: Connection, *, route_id: str, caller: str) -> RouteRecord:
    rows = await connection.select(_SELECT_ROUTE, {"route_id": stored(route_id), "caller": stored(caller)})
    if not rows:
        raise UnknownHandle(NO_SUCH_ROUTE)
    return await _route_of(connection, rows[0])


async def _select_recent(connection: Connection, *, caller: str, limit: int) -> tuple[RouteRecord, ...]:
    rows = await connection.select(_SELECT_RECENT, {"caller": stored(caller), "limit": limit})
    return tuple([await _route_of(connection, row) for row in rows])


async def _select_totals(connection: Connection, *, caller: str, since: float | None) -> LedgerTotals:
    bindings = {"caller": stored(caller), "since": -math.inf if since is None else since}
    [routes] = await connection.select(_SUM_ROUTES, bindings)
    [attempts] = await connection.select(_SUM_ATTEMPTS, bindings)
    [beside] = await connection.select(_SUM_BESIDE, bindings)
    attempts["cost_microusd"] += routes.pop("tools_microusd") + beside["cost_microusd"]
    return LedgerTotals(**routes, **attempts)


async def _select_health(connection: Connection, *, caller: str, since: float) -> tuple[ModelHealth, ...]:
    attempts = await connection.select(_SELECT_HEALTH, {"caller": stored(caller), "since": since})
    by_model = groupby(attempts, key=itemgetter("model_id"))
    return tuple(_health_of(restored(model_id), tuple(group)) for model_id, group in by_model)


def _health_of(model_id: str, attempts: Sequence[Row]) -> ModelHealth:
    """Sum up the attempts of one model, which come in the order they started."""
    answered = [attempt for attempt in attempts if attempt["outcome"] == "answered"]
    failed = [attempt for attempt in attempts if attempt["outcome"] == "failed"]
    latencies = [attempt["latency_ms"] for attempt in answered]
    first_tokens = [attempt["first_token_ms"] for attempt in answered if attempt["first_token_ms"] is not None]
    return ModelHealth(
        model_id=model_id,
        attempts=len(attempts),
        answered=len(answered),
        failures=len(failed),
        p50_latency_ms=_percentile(latencies, 50),
        p95_latency_ms=_percentile(latencies, 95),
        p50_first_token_ms=_percentile(first_tokens, 50),
        last_error=restored(failed[-1]["error"]) if failed else None,
        last_attempt_at=attempts[-1]["started_at"],
    )


def _percentile(values: Sequence[int], percent: int) -> int | None:
    """The nearest rank (https://en.wikipedia.org/wiki/Percentile): the least value that ``percent`` of them do not exceed."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[rank - 1] if values else None


async def _route_of(connection: Connection, row: Row) -> RouteRecord:
    attempts = await connection.select(_SELECT_ATTEMPTS, {"route_id": row["route_id"]})
    documents: Row = {name: None if row[name] is None else json.loads(row[name]) for name in _DOCUMENTS}
    scalars = {name: restored(value) for name, value in row.items() if name not in _DOCUMENTS}
    return RouteRecord(
        **scalars,
        attempts=tuple(_attempt_of(attempt) for attempt in attempts),
        usage=Usage(**documents["usage"]),
        notices=tuple(documents["notices"]),
        tools=tuple(ToolUse(**use) for use in documents["tools"]),
        verification=tuple(_step_of(step) for step in documents["verification"]),
        analysis=_analysis_of(documents["analysis"]) if documents["analysis"] else None,
        selection=_selection_of(documents["selection"]) if documents["selection"] else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDocuments:
    """The `Documents` of a row."""

    analysis: TaskAnalysis | None
    selection: ModelSelection | None
    verification: Sequence[VerificationStep]


def documents_of(row: Row) -> KeptDocuments:
    """The documents of a row of routes."""
    return KeptDocuments(
        analysis=_analysis_of(json.loads(row["analysis"])) if row["analysis"] else None,
        selection=_selection_of(json.loads(row["selection"])) if row["selection"] else None,
        verification=[_step_of(step) for step in json.loads(row["verification"])],
    )


def _step_of(document: Row) -> VerificationStep:
    findings: Row = {"findings": tuple(Finding(**finding) for finding in document["findings"])}
    return VerificationStep(**{**document, **findings})


def _attempt_of(row: Row) -> Attempt:
    usage = {name: row.pop(name) for name in _USAGE_COLUMNS}
    usage["estimated"] = bool(usage["estimated"])
    return Attempt(**{name: restored(value) for name, value in row.items()}, usage=Usage(**usage))


def _analysis_of(document: Row) -> TaskAnalysis:
    named: Row = {"tools_named": tuple(document.get("tools_named", ()))}
    return TaskAnalysis(**{**document, **named})


def _selection_of(document: Row) -> ModelSelection:
    sequences: Row = {
        "fallback_models": tuple(document["fallback_models"]),
        "rejections": tuple(Rejection(**rejection) for rejection in document["rejections"]),
        "notices": tuple(document["notices"]),
    }
    return ModelSelection(**{**document, **sequences})
