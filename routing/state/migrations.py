"""The tables of the SQLite store, as numbered steps: step n takes a database from ``user_version`` n-1 to n.

A step that has been released is never edited; a change is a new step. Values that are only ever read whole (an analysis,
a selection, a message) are JSON documents, and what reports ask of them are generated columns; a later step can add
another as VIRTUAL, and the routes of the past have it too. Renaming or removing a field of those dataclasses needs a step
that rewrites the documents.

Money is integer micro-dollars, NULL where unknown. ``_at`` is seconds since the epoch.
"""

from __future__ import annotations

_LEDGER_AND_SESSIONS = """
CREATE TABLE routes (
  id                     INTEGER PRIMARY KEY,
  route_id               TEXT    NOT NULL UNIQUE,
  caller                 TEXT    NOT NULL,
  session_id             TEXT    NOT NULL,
  started_at             REAL    NOT NULL,
  latency_ms             INTEGER NOT NULL,
  outcome                TEXT    NOT NULL,
  prompt_sha256          TEXT    NOT NULL,
  model_used             TEXT,
  finish_reason          TEXT,
  cost_microusd          INTEGER,
  baseline_model         TEXT,
  baseline_cost_microusd INTEGER,
  error                  TEXT,
  usage                  TEXT    NOT NULL,
  notices                TEXT    NOT NULL,
  analysis               TEXT,
  selection              TEXT,
  category      TEXT    GENERATED ALWAYS AS (analysis ->> '$.category') VIRTUAL,
  complexity    INTEGER GENERATED ALWAYS AS (analysis ->> '$.complexity') VIRTUAL,
  confidence    REAL    GENERATED ALWAYS AS (analysis ->> '$.confidence') VIRTUAL,
  analyzer      TEXT    GENERATED ALWAYS AS (analysis ->> '$.analyzer') VIRTUAL,
  primary_model TEXT    GENERATED ALWAYS AS (selection ->> '$.primary_model') VIRTUAL
) STRICT;
-- routes_by_time carries what totals need, so that they read no row with its documents
CREATE INDEX routes_by_time     ON routes (caller, started_at, route_id, baseline_cost_microusd);
CREATE INDEX routes_by_model    ON routes (caller, model_used, started_at);
CREATE INDEX routes_by_category ON routes (caller, category, started_at);

CREATE TABLE attempts (
  route_id           TEXT    NOT NULL REFERENCES routes (route_id) ON DELETE CASCADE,
  position           INTEGER NOT NULL,
  model_id           TEXT    NOT NULL,
  provider           TEXT    NOT NULL,
  outcome            TEXT    NOT NULL,
  started_at         REAL    NOT NULL,
  latency_ms         INTEGER NOT NULL,
  first_token_ms     INTEGER,
  finish_reason      TEXT,
  error              TEXT,
  cost_microusd      INTEGER,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens   INTEGER NOT NULL,
  estimated          INTEGER NOT NULL,
  PRIMARY KEY (route_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_model ON attempts (model_id, started_at);

CREATE TABLE sessions (
  id         INTEGER PRIMARY KEY,
  session_id TEXT NOT NULL UNIQUE,
  caller     TEXT NOT NULL,
  used_at    REAL NOT NULL
) STRICT;
CREATE INDEX sessions_by_caller ON sessions (caller, used_at);
CREATE INDEX sessions_by_use    ON sessions (used_at);

CREATE TABLE messages (
  session_id TEXT    NOT NULL REFERENCES sessions (session_id) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  role       TEXT    NOT NULL GENERATED ALWAYS AS (message ->> '$.role') STORED,
  message    TEXT    NOT NULL,
  PRIMARY KEY (session_id, position)
) STRICT;
"""

_TOOLS_CALLED = "ALTER TABLE routes ADD COLUMN tools TEXT NOT NULL DEFAULT '[]'"

_MEMORIES = """
-- A row never changes its text: a memory that gets a new one gets a new row, whose id no row had before. So what is worked
-- out from a text and kept by id (words, vectors, the vectors that a process holds) can never be of another text.
CREATE TABLE memories (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  memory_id  TEXT NOT NULL UNIQUE,
  caller     TEXT NOT NULL,
  key        TEXT,
  text       TEXT NOT NULL,
  metadata   TEXT NOT NULL,
  source     TEXT,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  expires_at REAL
) STRICT;
CREATE INDEX        memories_by_caller ON memories (caller, id);
CREATE UNIQUE INDEX memories_by_key    ON memories (caller, key)  WHERE key IS NOT NULL;
CREATE INDEX        memories_by_expiry ON memories (expires_at)   WHERE expires_at IS NOT NULL;

-- One row for each memory; embedder and vector are NULL until it is embedded. change grows with every vector that is
-- written, so a process that has read up to one of them asks for those after it.
CREATE TABLE memory_vectors (
  change   INTEGER PRIMARY KEY AUTOINCREMENT,
  id       INTEGER NOT NULL UNIQUE REFERENCES memories (id) ON DELETE CASCADE,
  caller   TEXT    NOT NULL,
  embedder TEXT,
  vector   BLOB
) STRICT;
CREATE INDEX memory_vectors_by_caller   ON memory_vectors (caller, embedder, change);
CREATE INDEX memory_vectors_by_embedder ON memory_vectors (embedder);

-- How many vectors of a caller are gone: where that has grown, a process forgets those that it still holds.
CREATE TABLE memory_callers (
  caller    TEXT PRIMARY KEY,
  forgotten INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER memory_vectors_forgotten AFTER DELETE ON memory_vectors WHEN old.vector IS NOT NULL BEGIN
  INSERT INTO memory_callers VALUES (old.caller, 1) ON CONFLICT (caller) DO UPDATE SET forgotten = forgotten + 1;
END;

-- categories: marks are part of words, which are whole syllables in Hindi and Thai
CREATE VIRTUAL TABLE memory_words USING fts5 (
  words, tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
);
INSERT INTO memory_words (memory_words, rank) VALUES ('secure-delete', 1);
"""

_PAID_TOOLS = """
-- What the tools of a route cost beside its attempts, and the calls of tools that a host made itself.
ALTER TABLE routes ADD COLUMN tools_microusd INTEGER NOT NULL DEFAULT 0;
CREATE TABLE tool_calls (
  id            INTEGER PRIMARY KEY,
  caller        TEXT    NOT NULL,
  name          TEXT    NOT NULL,
  started_at    REAL    NOT NULL,
  latency_ms    INTEGER NOT NULL,
  is_error      INTEGER NOT NULL,
  cost_microusd INTEGER NOT NULL
) STRICT;
CREATE INDEX tool_calls_by_time ON tool_calls (caller, started_at, cost_microusd);
"""

# Sums of the ledger for reports: by hour (3600) and by day (86400), from the hour or day in which the route started, in UTC.
# '' is no model, or no category. A latency is kept to two significant digits, exact below 100 ms, so its percentiles are those
# of the ledger to two digits. The views say what is summed. Triggers added each route as it was written, until
# `_SUMMED_TOGETHER`: since then `SUM_UP` adds many at once.


def two_digits(milliseconds: str) -> str:
    """SQL that rounds to two significant digits what is 100 or more."""
    steps = "".join(
        f" WHEN {milliseconds} < {unit * 100} THEN ({milliseconds} + {unit // 2}) / {unit} * {unit}"
        for unit in (10, 100, 1_000, 10_000)
    )
    return f"CASE WHEN {milliseconds} < 100 THEN {milliseconds}{steps} ELSE {milliseconds} / 100000 * 100000 END"


_NEW_ROUTES = "route_id IN (SELECT route_id FROM routes WHERE id > (SELECT up_to FROM summed) AND pattern IS NULL)"


def _summed(table: str, keys: tuple[str, ...], sums: tuple[str, ...], figures: str) -> tuple[str, str, str]:
    """A table of sums with those of the past in it, and the statements that add to it what is selected from ``figures``.

    The first of them is for the trigger of a route, the second for all routes that are not in the sums yet.
    """
    key, columns, added_up = ", ".join(keys), ", ".join(sums), ", ".join(f"sum({name})" for name in sums)
    or_else = f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in sums)}"
    types = {"span": "INTEGER", "start": "INTEGER", "latency_ms": "INTEGER", "complexity": "INTEGER"}
    make = f"""
CREATE TABLE {table} (
  {", ".join(f"{name} {types.get(name, 'TEXT')} NOT NULL" for name in keys)},
  {", ".join(f"{name} INTEGER NOT NULL" for name in sums)},
  PRIMARY KEY ({key})
) STRICT, WITHOUT ROWID;
INSERT INTO {table} SELECT {key}, {added_up} FROM {figures} GROUP BY {key};
"""  # noqa: S608 - our own words, as below
    add = f"""
  INSERT INTO {table} SELECT {key}, {columns} FROM {figures} WHERE route_id = new.route_id %s
  {or_else};"""  # noqa: S608
    add_new = f"""
INSERT INTO {table} SELECT {key}, {added_up} FROM {figures} WHERE {_NEW_ROUTES} GROUP BY {key}
{or_else};"""  # noqa: S608
    return make, add, add_new


_SPANS = "(SELECT 3600 AS span UNION ALL SELECT 86400)"
_LATENCY_SPANS = "(SELECT 3600 AS span UNION ALL SELECT 86400 UNION ALL SELECT 1000000000000)"  # the last: all time
_START = "CAST(max(0, min(routes.started_at, 1e12)) AS INTEGER) / span * span AS start"
_PERIOD = ("span", "caller", "start")

_ROUTE_SUMS, _ADD_ROUTE, _ADD_ROUTES = _summed(
    "usage_routes",
    (*_PERIOD, "model_id", "category"),
    (
        *("routes", "completed", "failed", "cancelled", "fallbacks", "tools_microusd", "baseline_microusd"),
        *("saved_microusd", "losing", "lost_microusd", "uncompared", "task_tokens"),
    ),
    "route_figures",
)
_ATTEMPT_SUMS, _ADD_ATTEMPT, _ADD_ATTEMPTS = _summed(
    "usage_attempts",
    (*_PERIOD, "model_id", "provider", "category"),
    (
        *("attempts", "answered", "failed", "cancelled", "unpriced", "cost_microusd", "input_tokens", "output_tokens"),
        *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "answer_tokens"),
    ),
    "attempt_figures",
)
_LATENCY_SUMS, _ADD_LATENCY, _ADD_LATENCIES = _summed(
    "usage_latencies", (*_PERIOD, "measure", "subject", "latency_ms"), ("times",), "latency_figures"
)

_REPORTS = f"""
CREATE INDEX routes_by_age ON routes (started_at);

CREATE VIEW route_figures AS
SELECT route_id, caller, span, start, model_id, category, routes, completed, failed, cancelled, fallbacks, tools_microusd,
  iif(saved IS NULL OR NOT completed, 0, baseline) AS baseline_microusd,
  coalesce(saved, 0)     AS saved_microusd,
  coalesce(saved < 0, 0) AS losing,
  max(0, -coalesce(saved, 0)) AS lost_microusd,
  saved IS NULL          AS uncompared,
  task_tokens
FROM (
  SELECT route_id, caller, span, {_START},
    coalesce(model_used, '')          AS model_id,
    coalesce(category, '')            AS category,
    1                                 AS routes,
    outcome = 'completed'             AS completed,
    outcome = 'failed'                AS failed,
    outcome = 'cancelled'             AS cancelled,
    coalesce(outcome = 'completed' AND model_used <> primary_model, 0) AS fallbacks,
    tools_microusd,
    baseline_cost_microusd            AS baseline,
    iif(outcome = 'completed', baseline_cost_microusd - cost_microusd, -cost_microusd) AS saved,
    max(0, coalesce(analysis ->> '$.estimated_input_tokens', 0) - coalesce(analysis ->> '$.history_tokens', 0))
                                      AS task_tokens
  FROM routes, {_SPANS}
);

CREATE VIEW attempt_figures AS
SELECT attempts.route_id, attempts.position, caller, span, {_START}, model_id, provider,
  coalesce(category, '')              AS category,
  1                                   AS attempts,
  attempts.outcome = 'answered'       AS answered,
  attempts.outcome = 'failed'         AS failed,
  attempts.outcome = 'cancelled'      AS cancelled,
  attempts.cost_microusd IS NULL      AS unpriced,
  coalesce(attempts.cost_microusd, 0) AS cost_microusd,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  iif(routes.outcome = 'completed' AND attempts.outcome = 'answered' AND attempts.finish_reason IS NOT 'tool_call',
    output_tokens - reasoning_tokens, 0) AS answer_tokens
FROM attempts JOIN routes USING (route_id), {_SPANS};

-- measure is 'route' (subject is the category), 'attempt' or 'first_token' (subject is the model)
CREATE VIEW latency_figures AS
SELECT route_id, -1 AS position, caller, span, {_START}, 'route' AS measure, coalesce(category, '') AS subject,
  {two_digits("latency_ms")} AS latency_ms, 1 AS times
FROM routes, {_LATENCY_SPANS} WHERE outcome = 'completed'
UNION ALL
SELECT attempts.route_id, attempts.position, caller, span, {_START}, 'attempt', model_id,
  {two_digits("attempts.latency_ms")}, 1
FROM attempts JOIN routes USING (route_id), {_LATENCY_SPANS} WHERE attempts.outcome = 'answered'
UNION ALL
SELECT attempts.route_id, attempts.position, caller, span, {_START}, 'first_token', model_id,
  {two_digits("first_token_ms")}, 1
FROM attempts JOIN routes USING (route_id), {_LATENCY_SPANS} WHERE attempts.outcome = 'answered' AND first_token_ms IS NOT NULL;

{_ROUTE_SUMS}
{_ATTEMPT_SUMS}
{_LATENCY_SUMS}

CREATE TRIGGER usage_of_a_route AFTER INSERT ON routes BEGIN
{_ADD_ROUTE % ""}
{_ADD_LATENCY % "AND position = -1"}
END;
CREATE TRIGGER usage_of_an_attempt AFTER INSERT ON attempts BEGIN
{_ADD_ATTEMPT % "AND position = new.position"}
{_ADD_LATENCY % "AND position = new.position"}
END;

-- What a caller thought of an answer. The row outlives its route, without the note, so that the record of a model does.
CREATE TABLE feedback (
  route_id   TEXT NOT NULL PRIMARY KEY,
  caller     TEXT NOT NULL,
  started_at REAL NOT NULL,
  model_id   TEXT NOT NULL,
  category   TEXT NOT NULL,
  score      REAL NOT NULL,
  note       TEXT,
  given_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX feedback_by_time ON feedback (caller, started_at, model_id, category, score);
"""  # noqa: S608

_HELD_MONEY = """
CREATE INDEX reservations_by_lease ON reservations (leased_until);
CREATE TRIGGER money_set_aside AFTER INSERT ON reservations BEGIN
  UPDATE budgets SET reserved_microusd = reserved_microusd + new.microusd
  WHERE period = new.period AND subject = new.subject AND start = new.start;
END;
CREATE TRIGGER money_let_go AFTER DELETE ON reservations BEGIN
  UPDATE budgets SET reserved_microusd = reserved_microusd - old.microusd
  WHERE period = old.period AND subject = old.subject AND start = old.start;
END;
"""

_BUDGETS = (
    """
-- What was spent in an hour or month (start: its beginning, UTC) or in a session (subject: its id, start: 0).
CREATE TABLE budgets (
  period            TEXT    NOT NULL,
  subject           TEXT    NOT NULL,
  start             INTEGER NOT NULL,
  spent_microusd    INTEGER NOT NULL,
  reserved_microusd INTEGER NOT NULL DEFAULT 0,
  touched_at        REAL    NOT NULL,
  PRIMARY KEY (period, subject, start)
) STRICT, WITHOUT ROWID;

-- A row for each budget that a reservation is booked on. The triggers make reserved_microusd their sum, however one ends.
CREATE TABLE reservations (
  reservation_id TEXT    NOT NULL,
  period         TEXT    NOT NULL,
  subject        TEXT    NOT NULL,
  start          INTEGER NOT NULL,
  microusd       INTEGER NOT NULL,
  leased_until   REAL    NOT NULL,
  PRIMARY KEY (reservation_id, period)
) STRICT, WITHOUT ROWID;
"""
    + _HELD_MONEY
)

_JOBS = """
-- Answers that outlive their call: what the ledger does not keep of a route. leased_until counts while it is running.
CREATE TABLE answers (
  route_id     TEXT NOT NULL PRIMARY KEY,
  caller       TEXT NOT NULL,
  status       TEXT NOT NULL,
  content      TEXT,
  error        TEXT,
  leased_until REAL NOT NULL,
  expires_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_expiry ON answers (expires_at);

CREATE TABLE batches (
  batch_id     TEXT NOT NULL PRIMARY KEY,
  caller       TEXT NOT NULL,
  plan         TEXT NOT NULL,
  leased_until REAL NOT NULL,
  expires_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_by_expiry ON batches (expires_at);
CREATE TABLE batch_items (
  batch_id TEXT    NOT NULL REFERENCES batches ON DELETE CASCADE,
  position INTEGER NOT NULL,
  item     TEXT    NOT NULL,
  PRIMARY KEY (batch_id, position)
) STRICT, WITHOUT ROWID;
"""

_EXPERIENCE = """
-- What selection learns from: how hard the task was that a score was given for, and whose prompt cache a session has warmed.
ALTER TABLE feedback ADD COLUMN complexity INTEGER;
UPDATE feedback SET complexity = (SELECT complexity FROM routes WHERE routes.route_id = feedback.route_id);
ALTER TABLE sessions ADD COLUMN answered_by TEXT;
"""

_VERIFICATION = "ALTER TABLE routes ADD COLUMN verification TEXT NOT NULL DEFAULT '[]'"

_POLICY_COUNTS, _ADD_POLICY, _ADD_POLICIES = _summed(
    "usage_policies", (*_PERIOD, "policy"), ("routes",), "policy_figures"
)

_SHADOWS = f"""
-- What second models made of routes, unseen. The rows outlive their routes: they are part of what was spent.
CREATE TABLE shadows (
  route_id           TEXT    NOT NULL PRIMARY KEY,
  caller             TEXT    NOT NULL,
  model_id           TEXT    NOT NULL,
  provider           TEXT    NOT NULL,
  category           TEXT    NOT NULL,
  started_at         REAL    NOT NULL,
  latency_ms         INTEGER NOT NULL,
  outcome            TEXT    NOT NULL,
  agreement          REAL,
  cost_microusd      INTEGER,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens   INTEGER NOT NULL,
  estimated          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX shadows_by_time ON shadows (caller, started_at);

-- Who chose; a route of the time before that was written down counts as the matrix's.
CREATE VIEW policy_figures AS
SELECT route_id, caller, span, {_START}, coalesce(selection ->> '$.policy', 'matrix') AS policy, 1 AS routes
FROM routes, {_SPANS} WHERE selection IS NOT NULL;
{_POLICY_COUNTS}
CREATE TRIGGER policy_of_a_route AFTER INSERT ON routes BEGIN
{_ADD_POLICY % ""}
END;
"""  # noqa: S608
_BUDGETS_OF_CALLERS = f"""
-- A call is booked on its caller's budget and on that of all callers: two of one period.
DROP TRIGGER money_set_aside;
DROP TRIGGER money_let_go;
DROP INDEX reservations_by_lease;
ALTER TABLE reservations RENAME TO reservations_before;
CREATE TABLE reservations (
  reservation_id TEXT    NOT NULL,
  period         TEXT    NOT NULL,
  subject        TEXT    NOT NULL,
  start          INTEGER NOT NULL,
  microusd       INTEGER NOT NULL,
  leased_until   REAL    NOT NULL,
  PRIMARY KEY (reservation_id, period, subject)
) STRICT, WITHOUT ROWID;
INSERT INTO reservations SELECT * FROM reservations_before;
DROP TABLE reservations_before;
{_HELD_MONEY}
"""  # noqa: S608 - our own words

_CHECK_COUNTS, _ADD_CHECKS, _ADD_MORE_CHECKS = _summed(
    "usage_checks", (*_PERIOD, "model_id", "category", "complexity"), ("checked", "failed", "tested"), "check_figures"
)

_CHECKS = f"""
-- What machines found of answers: how many were checked for more than being there, failed, or passed tests that were run.
CREATE VIEW check_figures AS
SELECT route_id, caller, span, start, model_id, category, complexity, 1 AS checked, failed, NOT failed AND tested AS tested
FROM (
  SELECT route_id, caller, span, {_START}, step.value ->> '$.model_id' AS model_id, coalesce(category, '') AS category,
    coalesce(complexity, 0) AS complexity,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings') WHERE NOT value ->> '$.passed') AS failed,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings') WHERE value ->> '$.check' = 'tests') AS tested,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings')
      WHERE value ->> '$.check' NOT IN ('complete', 'answered')) AS told
  FROM routes, json_each(routes.verification) AS step, {_SPANS}
) WHERE told OR failed;
{_CHECK_COUNTS}
CREATE TRIGGER checks_of_a_route AFTER INSERT ON routes WHEN new.verification <> '[]' BEGIN
{_ADD_CHECKS % ""}
END;
"""  # noqa: S608

_TREES = """
-- Steps of a route, answers given again, and prompts, which are kept only where the user asks for it.
ALTER TABLE routes ADD COLUMN parent_id TEXT;
ALTER TABLE routes ADD COLUMN cached TEXT;
ALTER TABLE routes ADD COLUMN prompt TEXT;
CREATE INDEX routes_by_parent ON routes (parent_id) WHERE parent_id IS NOT NULL;
"""

_SUMMED_TOGETHER = """
-- Routes up to this id are in the sums; a report, or a writer with time to spare, adds the others (`SUM_UP`).
DROP TRIGGER usage_of_a_route;
DROP TRIGGER usage_of_an_attempt;
DROP TRIGGER policy_of_a_route;
DROP TRIGGER checks_of_a_route;
CREATE TABLE summed (up_to INTEGER NOT NULL) STRICT;
INSERT INTO summed SELECT coalesce(max(id), 0) FROM routes;
"""

_OPINIONS = f"""
-- That samples agree, or what a judge thinks, is an opinion: it was checked by no machine, and nothing is learned from it.
DROP VIEW check_figures;
CREATE VIEW check_figures AS
SELECT route_id, caller, span, start, model_id, category, complexity, 1 AS checked, failed, NOT failed AND tested AS tested
FROM (
  SELECT route_id, caller, span, {_START}, step.value ->> '$.model_id' AS model_id, coalesce(category, '') AS category,
    coalesce(complexity, 0) AS complexity,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings')
      WHERE NOT value ->> '$.passed' AND value ->> '$.check' NOT IN ('agreement', 'judged')) AS failed,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings') WHERE value ->> '$.check' = 'tests') AS tested,
    EXISTS (SELECT 1 FROM json_each(step.value, '$.findings')
      WHERE value ->> '$.check' NOT IN ('complete', 'answered', 'agreement', 'judged')) AS told
  FROM routes, json_each(routes.verification) AS step, {_SPANS}
) WHERE told OR failed;
"""  # noqa: S608

LAST_SUMMED = "UPDATE summed SET up_to = (SELECT coalesce(max(id), 0) FROM routes)"
"""To be said once the sums are complete, and where routes were removed: the next one may get an id that was theirs."""

SUM_UP = f"""{_ADD_ROUTES}{_ADD_ATTEMPTS}{_ADD_LATENCIES}{_ADD_POLICIES}{_ADD_MORE_CHECKS}
{LAST_SUMMED};
"""
"""Adds the routes that are not in the sums yet."""

_PATTERNS = "ALTER TABLE routes ADD COLUMN pattern TEXT"
"""What a route with steps followed. Its steps are routes of their own, so it adds nothing to the sums."""
_ANSWERS_CACHE = """
-- Answers that may be given again, to their own caller; of the question, a digest and perhaps a vector.
CREATE TABLE answers_cache (
  id         INTEGER PRIMARY KEY,
  caller     TEXT    NOT NULL,
  digest     TEXT    NOT NULL,
  context    TEXT    NOT NULL,
  model_id   TEXT    NOT NULL,
  text       TEXT    NOT NULL,
  usage      TEXT    NOT NULL,
  vector     BLOB,
  kept_at    REAL    NOT NULL,
  expires_at REAL    NOT NULL,
  size       INTEGER NOT NULL,
  UNIQUE (caller, digest)
) STRICT;
CREATE INDEX answers_cache_by_age ON answers_cache (caller, kept_at DESC, id DESC, size);
CREATE INDEX answers_cache_by_context ON answers_cache (caller, context, kept_at DESC) WHERE vector IS NOT NULL;
CREATE INDEX answers_cache_by_expiry ON answers_cache (expires_at);
"""

# Reports read sums, not these: each cost every route a page.
_FEWER_INDEXES = """
DROP INDEX routes_by_model;
DROP INDEX routes_by_category;
DROP INDEX attempts_by_model;
"""

# One index tells what has expired and, read from its end, whose sessions are the latest: two cost every route another page.
_SESSIONS_BY_USE = """
DROP INDEX sessions_by_caller;
DROP INDEX sessions_by_use;
CREATE INDEX sessions_by_use ON sessions (used_at, caller);
"""

MIGRATIONS: tuple[str, ...] = (
    _LEDGER_AND_SESSIONS,
    _TOOLS_CALLED,
    _MEMORIES,
    _PAID_TOOLS,
    _REPORTS,
    _BUDGETS,
    _JOBS,
    _EXPERIENCE,
    _VERIFICATION,
    _SHADOWS,
    _BUDGETS_OF_CALLERS,
    _CHECKS,
    _TREES,
    _SUMMED_TOGETHER,
    _OPINIONS,
    _PATTERNS,
    _ANSWERS_CACHE,
    _FEWER_INDEXES,
    _SESSIONS_BY_USE,
)
