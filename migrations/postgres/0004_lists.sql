-- A step forward touches as few indexes as can be: what lists look for has a table of its own, and changes
-- where a workflow begins and where it ends.

-- Under what a workflow is listed, in which order: newest first within its definition and `listed`. Lists
-- begin here, whatever they ask for: there are few pairs of the two, however many workflows.
CREATE TABLE listings (
    namespace  TEXT NOT NULL,
    definition TEXT NOT NULL,
    listed     TEXT NOT NULL,   -- OPEN until it ends, then its status
    id         UUID NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
INSERT INTO listings
    SELECT namespace, definition, CASE WHEN ended_at IS NULL THEN 'OPEN' ELSE status END, id FROM workflows;
CREATE INDEX listings_newest ON listings (namespace, definition, listed, id DESC);

DROP INDEX workflows_newest;
DROP INDEX workflows_by_status;
DROP INDEX workflows_by_definition;
ALTER TABLE workflows DROP COLUMN listed;
-- Those that are open and not on their way forward: an operator looks for them, and they are few.
CREATE INDEX workflows_astray ON workflows (namespace, status, id DESC)
    WHERE status IN ('ROLLING_BACK', 'PAUSED', 'ERROR');

-- Who claims looks every half second at the latest, so the exact time at which the next of those that were
-- delivered is due is nothing that an index of its own pays for.
DROP INDEX dispatch_delivered;

-- What a group writes, row by row: taken apart by the server in one go, where an array for each column costs
-- about as much as the rows' way into the table.
CREATE TYPE workflow_row AS (
    id         UUID,
    place      BIGINT,   -- in the group
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
