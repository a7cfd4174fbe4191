"""Reports and feedback in SQL. Sums of the ledger are kept (`migrations`), so a report adds up a few thousand rows at most.

In SQLite a route is added to them by the next report, or by the writer when it has time to spare, not in the write that a
caller waits for; PostgreSQL's triggers do so as it is written.

A report reads days, or the hours of the last day: hours older than `HOURS_KEPT_SECONDS` are let go of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from routing.errors import UnknownHandle
from routing.state import (
    LOW_SCORE,
    NO_SUCH_ROUTE,
    AttemptSums,
    CheckSums,
    Decided,
    DecidedPage,
    Experience,
    LatencyCount,
    LedgerLine,
    LedgerPage,
    PolicyCount,
    RouteSums,
    Runs,
    Scored,
    ScoreSums,
    ShadowSums,
    Span,
    SpanSums,
    TrackRecord,
    UsageSums,
)
from routing.state.columns import restored, stored
from routing.state.migrations import LAST_SUMMED, SUM_UP
from routing.state.tables import Connection, Row, Tables
from routing.types import Usage

T = TypeVar("T")
MOST_SCORED = 10_000
"""Of a caller's scored routes, the latest so many are told as choices."""

HOURS_KEPT_SECONDS = 3 * 86_400
_DAY_SECONDS = 86_400
_ALL_TIME = 10**12
"""The span that holds all latencies: the days of years would be too many rows to add up."""

_HALF_LIVES_KEPT = 8
"""After so many a score counts as nothing."""

_MOST_REMOVED = 2_000
"""Routes that one round of housekeeping removes: more would keep writers waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlReports:
    """The `routing.state.Reports` in ``database``. Routes are removed after ``ledger_days``, never where it is ``None``.

    With ``late_sums`` a route is added to the sums by `sum_up`; otherwise the database does so as it is written.
    """

    database: Tables
    wall_clock: Callable[[], float]
    ledger_days: int | None
    late_sums: bool = False

    async def usage(self, caller: str, *, since: int | None, span: Span) -> UsageSums:
        if self.late_sums:
            await summed_up(self.database)
        return await self.database.read(partial(_select_usage, caller=caller, since=since, span=span))

    async def export(
        self, caller: str, *, since: float | None, after: int | None = None, routes: int = 1000
    ) -> LedgerPage:
        bindings = {"caller": stored(caller), "since": since or 0, "after": after or 0, "routes": routes}
        return await self.database.read(partial(_select_page, bindings=bindings))

    async def decisions(
        self, caller: str, *, since: float | None, after: int | None = None, routes: int = 1000, scored: bool = False
    ) -> DecidedPage:
        bindings = {
            "caller": stored(caller),
            "since": since or 0,
            "after": after or 0,
            "routes": routes,
            "most": MOST_SCORED,
        }
        statements = _SCORED_STATEMENTS if scored else _DECIDED_STATEMENTS
        return await self.database.read(partial(_select_decided, statements=statements, bindings=bindings))

    async def remove_expired(self, connection: Connection) -> None:
        """Let go of old hours, and of routes that are too old, some at a time; the sums by the day stay."""
        if self.late_sums:
            await sum_up(connection)
        now = self.wall_clock()
        before = {"before": now - HOURS_KEPT_SECONDS}
        for table in ("usage_routes", "usage_attempts", "usage_latencies", "usage_checks", "usage_policies"):
            await connection.run(f"DELETE FROM {table} WHERE span = 3600 AND start < :before", before)  # noqa: S608 - the names are above
        if self.ledger_days is not None:
            await _remove_routes(connection, before=now - self.ledger_days * _DAY_SECONDS)
            if self.late_sums:
                await connection.run(LAST_SUMMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlFeedback:
    """The `routing.state.Feedback` in ``database``; ``late_sums`` as in `SqlReports`."""

    database: Tables
    wall_clock: Callable[[], float]
    late_sums: bool = False

    async def record(self, caller: str, route_id: str, score: float, note: str | None = None) -> float | None:
        row: Row = {"caller": stored(caller), "route_id": stored(route_id), "note": stored(note)}
        given = {**row, "score": score, "given_at": self.wall_clock()}
        return await self.database.write(partial(_insert_feedback, row=given))

    async def scores(self, caller: str, route_ids: Sequence[str]) -> Mapping[str, float]:
        return await self.database.read(partial(_select_scores, caller=caller, route_ids=route_ids))

    async def experience(self, caller: str, *, half_life_seconds: float, since: float) -> Experience:
        now = self.wall_clock()
        bindings = {"caller": stored(caller), "since": since, "now": now, "half_life": half_life_seconds}
        oldest = {"oldest": now - _HALF_LIVES_KEPT * half_life_seconds}
        if self.late_sums:
            await summed_up(self.database)
        return await self.database.read(partial(_select_experience, bindings={**bindings, **oldest}))


async def summed_up(database: Tables) -> None:
    """See to it that every route that was written is in the sums."""
    if await database.read(_is_behind):
        await database.write(sum_up, durable=False)  # after a power cut they are added again


async def sum_up(connection: Connection) -> None:
    """The `Job` that adds the routes which are not in the sums yet; many at once cost little more than one."""
    if await _is_behind(connection):
        await connection.run(SUM_UP)


async def _is_behind(connection: Connection) -> bool:
    return bool(await connection.select("SELECT 1 FROM summed WHERE up_to < (SELECT max(id) FROM routes)"))


_SUM_ROUTES = """
SELECT model_id, category, sum(routes) AS routes, sum(completed) AS completed, sum(failed) AS failed,
  sum(cancelled) AS cancelled, sum(fallbacks) AS fallbacks, sum(tools_microusd) AS tools_microusd,
  sum(baseline_microusd) AS baseline_microusd, sum(saved_microusd) AS saved_microusd, sum(losing) AS losing,
  sum(lost_microusd) AS lost_microusd, sum(uncompared) AS uncompared, sum(task_tokens) AS task_tokens
FROM usage_routes WHERE span = :span AND caller = :caller AND start >= :since GROUP BY model_id, category
"""

_SUM_ATTEMPTS = """
SELECT model_id, provider, category, sum(attempts) AS attempts, sum(answered) AS answered, sum(failed) AS failed,
  sum(cancelled) AS cancelled, sum(unpriced) AS unpriced, sum(cost_microusd) AS cost_microusd,
  sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cache_read_tokens) AS cache_read_tokens,
  sum(cache_write_tokens) AS cache_write_tokens, sum(reasoning_tokens) AS reasoning_tokens,
  sum(answer_tokens) AS answer_tokens
FROM usage_attempts WHERE span = :span AND caller = :caller AND start >= :since GROUP BY model_id, provider, category
"""

_SUM_SPANS = """
SELECT start, sum(routes) AS routes, sum(cost_microusd) AS cost_microusd, sum(saved_microusd) AS saved_microusd
FROM (
  SELECT start, routes, tools_microusd AS cost_microusd, saved_microusd
  FROM usage_routes WHERE span = :span AND caller = :caller AND start >= :since
  UNION ALL
  SELECT start, 0, cost_microusd, 0 FROM usage_attempts WHERE span = :span AND caller = :caller AND start >= :since
  UNION ALL
  SELECT CAST(floor(started_at) AS BIGINT) / :span * :span, 0, coalesce(cost_microusd, 0), -coalesce(cost_microusd, 0)
  FROM shadows WHERE caller = :caller AND started_at >= :since
) AS spans GROUP BY start ORDER BY start
"""

_SUM_LATENCIES = """
SELECT measure, subject, latency_ms, sum(times) AS times
FROM usage_latencies WHERE span = :latency_span AND caller = :caller AND start >= :since GROUP BY measure, subject, latency_ms
"""

_SUM_SCORES = """
SELECT model_id, category, count(*) AS scored, count(*) FILTER (WHERE score < :low) AS low, sum(score) AS total
FROM feedback WHERE caller = :caller AND started_at >= :since GROUP BY model_id, category
"""

_SUM_BEFORE = """
SELECT model_id, sum(answered) AS answered, sum(failed) AS failed, sum(scored) AS scored, sum(low) AS low
FROM (
  SELECT model_id, sum(answered) AS answered, sum(failed) AS failed, 0 AS scored, 0 AS low
  FROM usage_attempts WHERE span = 86400 AND caller = :caller AND start < :day GROUP BY model_id
  UNION ALL
  SELECT model_id, 0, 0, count(*), count(*) FILTER (WHERE score < :low)
  FROM feedback WHERE caller = :caller AND started_at < :day GROUP BY model_id
) AS earlier GROUP BY model_id
"""

_SUM_CHECKS = """
SELECT model_id, category, sum(checked) AS checked, sum(failed) AS failed, sum(tested) AS tested
FROM usage_checks WHERE span = :span AND caller = :caller AND start >= :since GROUP BY model_id, category
"""

_SUM_SHADOWS = """
SELECT model_id, provider, category, count(*) AS shadows,
  count(*) FILTER (WHERE outcome = 'answered') AS answered, count(*) FILTER (WHERE outcome = 'failed') AS failed,
  count(*) - count(cost_microusd) AS unpriced,
  coalesce(sum(cost_microusd), 0) AS cost_microusd, count(agreement) AS compared, coalesce(sum(agreement), 0.0) AS agreement
FROM shadows WHERE caller = :caller AND started_at >= :since GROUP BY model_id, provider, category
"""

_SUM_POLICIES = """
SELECT policy, sum(routes) AS routes FROM usage_policies
WHERE span = :span AND caller = :caller AND start >= :since GROUP BY policy ORDER BY routes DESC, policy
"""

_SUM_OWN_TOOLS = """
SELECT coalesce(sum(cost_microusd), 0) AS own_tools_microusd
FROM tool_calls WHERE caller = :caller AND started_at >= :since
"""

_FIRST_DAY = "SELECT min(start) AS first_at FROM usage_routes WHERE span = 86400 AND caller = :caller"

_INSERT_FEEDBACK = """
INSERT INTO feedback (route_id, caller, started_at, model_id, category, score, note, given_at, complexity)
SELECT route_id, caller, started_at, coalesce(model_used, primary_model, ''), coalesce(category, ''), :score, :note, :given_at,
  complexity
FROM routes WHERE route_id = :route_id AND caller = :caller
ON CONFLICT (route_id) DO UPDATE SET score = excluded.score, note = excluded.note, given_at = excluded.given_at
"""

_SELECT_SCORE = "SELECT score FROM feedback WHERE route_id = :route_id AND caller = :caller"

_SUM_EXPERIENCE = """
SELECT category, complexity, model_id, sum(weight) AS weight, sum(good) AS good
FROM (
  SELECT category, complexity, model_id, share AS weight, share * score AS good
  FROM (SELECT *, pow(0.5, CASE WHEN given_at < :now THEN :now - given_at ELSE 0 END / :half_life) AS share FROM feedback
    WHERE caller = :caller AND given_at >= :oldest AND complexity IS NOT NULL) AS given
  UNION ALL
  SELECT category, complexity, model_id, share * (failed + tested), share * tested
  FROM (SELECT *, pow(0.5, CASE WHEN start < :now THEN :now - start ELSE 0 END / :half_life) AS share FROM usage_checks
    WHERE span = 86400 AND caller = :caller AND start >= :oldest AND complexity > 0 AND failed + tested > 0) AS found
) AS weighed
GROUP BY category, complexity, model_id
"""

_SUM_RUNS = """
SELECT model_id, answered, failed, output_tokens,
  (SELECT CAST(sum(latency_ms * times) AS DOUBLE PRECISION) / sum(times)
    FROM lately WHERE measure = 'attempt' AND subject = model_id)
    AS latency_ms,
  (SELECT CAST(sum(latency_ms * times) AS DOUBLE PRECISION) / sum(times)
    FROM lately WHERE measure = 'first_token' AND subject = model_id)
    AS first_token_ms
FROM (
  SELECT model_id, sum(answered) AS answered, sum(failed) AS failed,
    CAST(sum(output_tokens) AS DOUBLE PRECISION) / nullif(sum(answered), 0) AS output_tokens
  FROM usage_attempts WHERE span = 3600 AND caller = :caller AND start >= :since GROUP BY model_id
) AS called
"""

_LATELY = """
WITH lately AS MATERIALIZED (
  SELECT measure, subject, latency_ms, times FROM usage_latencies
  WHERE span = 3600 AND caller = :caller AND start >= :since AND measure <> 'route'
)
"""

_SELECT_LINES = """
SELECT routes.id, route_id, session_id, routes.started_at, routes.outcome, routes.error, category, complexity, confidence,
  analyzer, selection, model_used,
  routes.latency_ms, tools, tools_microusd,
  routes.cost_microusd, baseline_model, baseline_cost_microusd AS baseline_microusd,
  (SELECT score FROM feedback WHERE feedback.route_id = routes.route_id) AS score,
  (SELECT note  FROM feedback WHERE feedback.route_id = routes.route_id) AS note,
  position, attempts.model_id, provider, attempts.outcome AS attempt_outcome, attempts.error AS attempt_error,
  attempts.started_at AS attempt_started_at, attempts.latency_ms AS attempt_latency_ms, first_token_ms,
  attempts.finish_reason, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated,
  attempts.cost_microusd AS attempt_microusd, parent_id, cached, prompt
FROM (
  SELECT * FROM routes WHERE caller = :caller AND started_at >= :since AND id > :after ORDER BY id LIMIT :routes
) AS routes LEFT JOIN attempts USING (route_id) ORDER BY routes.id, position
"""


_SELECT_DECIDED = """
SELECT id, routes.route_id, routes.started_at, routes.category, routes.complexity, selection, model_used, tools_microusd,
  cost_microusd, score
FROM {source}
WHERE {condition} AND routes.started_at >= :since AND id > :after AND outcome = 'completed' AND selection IS NOT NULL
ORDER BY id LIMIT :routes
"""

_SELECT_USAGES = """
SELECT routes.route_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens
FROM {source} CROSS JOIN attempts
WHERE {condition} AND id BETWEEN :first AND :last AND attempts.route_id = routes.route_id AND attempts.model_id = model_used
  AND routes.outcome = 'completed'
ORDER BY id, position
"""

_EVERY: Mapping[str, str] = {
    "source": "routes LEFT JOIN feedback ON feedback.route_id = routes.route_id",
    "condition": "routes.caller = :caller",
}

# In SQLite, CROSS JOIN also says what is looked at first: few routes have feedback.
_SCORED: Mapping[str, str] = {
    "source": "feedback CROSS JOIN routes",
    "condition": """
  feedback.caller = :caller AND feedback.route_id = routes.route_id AND routes.caller = :caller AND feedback.started_at >= (
    SELECT coalesce(min(started_at), 0) FROM (
      SELECT started_at FROM feedback WHERE caller = :caller AND started_at >= :since
      ORDER BY started_at DESC LIMIT :most
    ) AS latest
  )""",
}
_DECIDED_STATEMENTS = (
    _SELECT_DECIDED.format(**_EVERY),
    _SELECT_USAGES.format(source="routes", condition=_EVERY["condition"]),
)
_SCORED_STATEMENTS = _SELECT_DECIDED.format(**_SCORED), _SELECT_USAGES.format(**_SCORED)


async def _select_usage(connection: Connection, *, caller: str, since: int | None, span: Span) -> UsageSums:
    bindings = {"caller": stored(caller), "since": since or 0, "span": span, "low": LOW_SCORE}
    bindings["latency_span"] = _ALL_TIME if since is None else span
    bindings["day"] = (since or 0) // _DAY_SECONDS * _DAY_SECONDS
    [first] = await connection.select(_FIRST_DAY, bindings)
    [own_tools] = await connection.select(_SUM_OWN_TOOLS, bindings)
    return UsageSums(
        routes=_rows_of(RouteSums, await connection.select(_SUM_ROUTES, bindings)),
        attempts=_rows_of(AttemptSums, await connection.select(_SUM_ATTEMPTS, bindings)),
        spans=_rows_of(SpanSums, await connection.select(_SUM_SPANS, bindings)),
        latencies=_rows_of(LatencyCount, await connection.select(_SUM_LATENCIES, bindings)),
        scores=_rows_of(ScoreSums, await connection.select(_SUM_SCORES, bindings)),
        before=_rows_of(TrackRecord, await connection.select(_SUM_BEFORE, bindings)),
        shadows=_rows_of(ShadowSums, await connection.select(_SUM_SHADOWS, bindings)),
        checks=_rows_of(CheckSums, await connection.select(_SUM_CHECKS, bindings)),
        policies=_rows_of(PolicyCount, await connection.select(_SUM_POLICIES, bindings)),
        **own_tools,
        **first,
    )


_NAMED = frozenset({"model_id", "provider", "category", "subject"})


def _rows_of(kind: type[T], rows: Sequence[Row]) -> tuple[T, ...]:
    return tuple(
        kind(**{name: _name_of(value) if name in _NAMED else value for name, value in row.items()}) for row in rows
    )


def _name_of(value: str) -> str | None:
    """A name as it was given; ``''`` stands for none in keys, which cannot be NULL."""
    return restored(value) or None


async def _insert_feedback(connection: Connection, *, row: Row) -> float | None:
    before = await connection.select(_SELECT_SCORE, row)
    if not await connection.execute(_INSERT_FEEDBACK, row):
        raise UnknownHandle(NO_SUCH_ROUTE)
    return before[0]["score"] if before else None


async def _select_scores(connection: Connection, *, caller: str, route_ids: Sequence[str]) -> Mapping[str, float]:
    found = {
        route_id: await connection.select(_SELECT_SCORE, {"caller": stored(caller), "route_id": stored(route_id)})
        for route_id in route_ids
    }
    return {route_id: rows[0]["score"] for route_id, rows in found.items() if rows}


async def _select_experience(connection: Connection, *, bindings: Row) -> Experience:
    scored = (_in_python(row) for row in await connection.select(_SUM_EXPERIENCE, bindings))
    runs = (_in_python(row) for row in await connection.select(_LATELY + _SUM_RUNS, bindings))
    return Experience(scored=tuple(Scored(**row) for row in scored), runs=tuple(Runs(**row) for row in runs))


def _in_python(row: Row) -> Row:
    return {name: restored(value) for name, value in row.items()}


async def _select_page(connection: Connection, *, bindings: Row) -> LedgerPage:
    rows = await connection.select(_SELECT_LINES, bindings)
    ids = [row.pop("id") for row in rows]
    full = len(set(ids)) == bindings["routes"]
    return LedgerPage(lines=tuple(_line_of(row) for row in rows), after=ids[-1] if full else None)


async def _select_decided(connection: Connection, *, statements: tuple[str, str], bindings: Row) -> DecidedPage:
    choices, spending = statements
    rows = await connection.select(choices, bindings)
    span = {"first": rows[0]["id"], "last": rows[-1]["id"]} if rows else None
    spent = await connection.select(spending, {**bindings, **span}) if span else []
    usages = {route_id: tuple(map(_usage_of, some)) for route_id, some in groupby(spent, key=itemgetter("route_id"))}
    full = len(rows) == bindings["routes"]
    return DecidedPage(
        decided=tuple(_decided_of(row, usages.get(row["route_id"], ())) for row in rows),
        after=rows[-1]["id"] if full else None,
    )


_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def _usage_of(row: Row) -> Usage:
    return Usage(**{name: row[name] for name in _TOKENS})


def _decided_of(row: Row, usages: tuple[Usage, ...]) -> Decided:
    selection: dict[str, Any] = json.loads(row["selection"])
    weighed: dict[str, Any] = {
        "policy": selection.get("policy") or "matrix",
        "chosen_model": selection["primary_model"],
        "reference_model": selection.get("reference_model"),
        "forecasts": selection.get("forecasts") or {},
        "propensity": 1.0 if (share := selection.get("propensity")) is None else share,
    }
    names = {part.name for part in fields(Decided)} - {*weighed, "usages"}
    return Decided(**{name: restored(row[name]) for name in names}, **weighed, usages=usages)


_IN_SELECTION = {"chosen_model": "primary_model", "reasoning": "reasoning"}


def _line_of(row: Row) -> LedgerLine:
    selection: dict[str, Any] = json.loads(row["selection"] or "{}")
    values: dict[str, Any] = {name: selection.get(told) for name, told in _IN_SELECTION.items()}
    values |= {
        part.name: restored(row[part.name]) for part in fields(LedgerLine) if part.name not in {*values, "tools"}
    }
    values["tools"] = ", ".join(use["name"] for use in json.loads(row["tools"])) or None
    values["estimated"] = None if row["estimated"] is None else bool(row["estimated"])
    return LedgerLine(**values)


async def _remove_routes(connection: Connection, *, before: float) -> None:
    bindings = {"before": before, "most": _MOST_REMOVED}
    old = "SELECT route_id FROM routes WHERE started_at < :before ORDER BY started_at LIMIT :most"
    await connection.run(f"UPDATE feedback SET note = NULL WHERE route_id IN ({old})", bindings)  # noqa: S608 - our own words
    await connection.run(f"DELETE FROM routes WHERE route_id IN ({old})", bindings)  # noqa: S608 - our own words
