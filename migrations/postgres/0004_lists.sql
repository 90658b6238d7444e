-- Reduces the indexes that a transition writes to: the keys of lists move to a separate table, which changes only when a
-- workflow starts and when it ends.

-- The index of lists: newest first within a definition and a bucket (`listed`). All lists start here, because there are
-- few pairs of definition and bucket, however many workflows exist.
CREATE TABLE listings (
    namespace  TEXT NOT NULL,
    definition TEXT NOT NULL,
    listed     TEXT NOT NULL,   -- the bucket: OPEN until the workflow ends, then its status
    id         UUID NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
INSERT INTO listings
    SELECT namespace, definition, CASE WHEN ended_at IS NULL THEN 'OPEN' ELSE status END, id FROM workflows;
CREATE INDEX listings_newest ON listings (namespace, definition, listed, id DESC);

DROP INDEX workflows_newest;
DROP INDEX workflows_by_status;
DROP INDEX workflows_by_definition;
ALTER TABLE workflows DROP COLUMN listed;
-- Open workflows that may need the attention of an operator. They are few.
CREATE INDEX workflows_astray ON workflows (namespace, status, id DESC)
    WHERE status IN ('ROLLING_BACK', 'PAUSED', 'ERROR');

-- Claims run at least every half second, so the exact due time of the next delivered row is not worth an index.
DROP INDEX dispatch_delivered;

-- The rows of a batch. The server decodes an array of composite values in one pass. An array for each column would cost
-- about as much as the inserts themselves.
CREATE TYPE workflow_row AS (
    id         UUID,
    place      BIGINT,   -- position in the batch
    from_seq   BIGINT,
    namespace  TEXT,
    definition TEXT,
    version    INTEGER,
    status     TEXT,
    cause      TEXT,
    seq        BIGINT,
    state      TEXT,
    created_at BIGINT,
    ended_at   BIGINT,
    key        TEXT,
    digest     TEXT,
    labels     TEXT,
    error      TEXT,
    ends       BOOLEAN
);
CREATE TYPE ledger_row AS (
    id         UUID,
    key        TEXT,
    attempt    BIGINT,
    namespace  TEXT,
    service    TEXT,
    kind       TEXT,
    queue      TEXT,
    due_at     BIGINT,
    deliveries BIGINT,
    issued_at  BIGINT
);
