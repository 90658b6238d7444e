-- The rows of a workflow are found by its id. Times are microseconds since the Unix epoch.
CREATE TABLE workflows (
    id              UUID   NOT NULL PRIMARY KEY,   -- UUIDv7: ordered by the time of the start
    namespace       TEXT   NOT NULL,
    definition      TEXT   NOT NULL,
    version         INTEGER NOT NULL,
    status          TEXT   NOT NULL,
    cause           TEXT   NOT NULL,               -- empty if the workflow has none
    seq             BIGINT NOT NULL,
    state           TEXT   NOT NULL,               -- JSON, with its own format number
    created_at      BIGINT NOT NULL,
    ended_at        BIGINT,
    idempotency_key TEXT   NOT NULL,               -- empty if the workflow has none
    labels          JSONB  NOT NULL,
    error           TEXT
-- Leaves room on the page for the next state, so most updates do not write to an index (HOT updates).
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX workflows_newest ON workflows (namespace, id DESC);
CREATE INDEX workflows_by_status ON workflows (namespace, status, id DESC);
CREATE INDEX workflows_by_definition ON workflows (namespace, definition, id DESC);
CREATE INDEX workflows_by_key ON workflows (namespace, idempotency_key) WHERE idempotency_key <> '';

CREATE TABLE start_keys (
    namespace      TEXT NOT NULL,
    key            TEXT NOT NULL,
    workflow_id    UUID NOT NULL,
    request_digest TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
);

CREATE TABLE events (
    workflow_id UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, seq)
);

-- The dispatch ledger: exactly the commands and timers that are owed.
CREATE TABLE dispatch (
    workflow_id UUID    NOT NULL,
    key         TEXT    NOT NULL,
    attempt     BIGINT  NOT NULL,
    namespace   TEXT    NOT NULL,
    service     TEXT,
    kind        TEXT    NOT NULL,   -- run, held, withdraw
    queue       TEXT    NOT NULL,   -- namespace/service/side; empty for a row that no service processes
    due_at      BIGINT  NOT NULL,
    deliveries  BIGINT  NOT NULL,
    issued_at   BIGINT  NOT NULL,
    PRIMARY KEY (workflow_id, key)
-- Rows are inserted and deleted all the time, so dead rows are vacuumed immediately.
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX dispatch_due ON dispatch (queue, due_at);

CREATE TABLE definitions (
    namespace     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    definition    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    source_format TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    actor         TEXT,
    PRIMARY KEY (namespace, name, version)
);

CREATE TABLE services (
    namespace  TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    settings   TEXT   NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, name)
);

-- Durable counters: epochs, and the newest fencing token of each election.
CREATE TABLE epochs (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
