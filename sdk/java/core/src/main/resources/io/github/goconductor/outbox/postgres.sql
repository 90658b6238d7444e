-- Events that a transaction emits, until they are published.
CREATE TABLE IF NOT EXISTS goconductor_outbox (
    seq     BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      TEXT        NOT NULL UNIQUE,                -- the idempotency key of the event
    topic   TEXT        NOT NULL,
    payload TEXT        NOT NULL,                       -- JSON
    at      TIMESTAMPTZ NOT NULL DEFAULT now()
);
