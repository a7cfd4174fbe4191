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

MIGRATIONS: tuple[str, ...] = (_LEDGER_AND_SESSIONS, _TOOLS_CALLED)
