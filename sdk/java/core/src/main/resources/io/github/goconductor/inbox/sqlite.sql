-- The inbox of a participant in GoConductor's sagas, for SQLite 3.35 and later. It records each request in the
-- participant's own transaction, so that a repeated request takes effect once, and no execute takes effect after its
-- compensate.
CREATE TABLE IF NOT EXISTS goconductor_inbox (
    step   TEXT    NOT NULL PRIMARY KEY,             -- the idempotency key without its operation
    done   BOOLEAN NOT NULL DEFAULT false,
    output TEXT,                                     -- JSON, of the execute
    undone BOOLEAN NOT NULL DEFAULT false,
    undo   TEXT,                                     -- JSON, of the compensate
    at     INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
) WITHOUT ROWID
