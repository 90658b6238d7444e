-- Events that a transaction emits, until they are published.
CREATE TABLE IF NOT EXISTS goconductor_outbox (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE,                    -- the idempotency key of the event
    topic   TEXT    NOT NULL,
    payload TEXT    NOT NULL,                           -- JSON
    at      INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
)
