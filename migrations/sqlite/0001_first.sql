-- The rows of a workflow are found by its id. Times are microseconds since the Unix epoch.
CREATE TABLE workflows (
    id              BLOB    NOT NULL PRIMARY KEY,   -- UUIDv7: ordered by the time of the start
    namespace       TEXT    NOT NULL,
    definition      TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    status          TEXT    NOT NULL,
    cause           TEXT    NOT NULL,               -- empty if the workflow has none
    seq             INTEGER NOT NULL,
    state           TEXT    NOT NULL,               -- JSON, with its own format number
    created_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    idempotency_key TEXT    NOT NULL,               -- empty if the workflow has none
    labels          TEXT    NOT NULL,
    error           TEXT
) WITHOUT ROWID;
CREATE INDEX workflows_newest ON workflows (namespace, id DESC);
CREATE INDEX workflows_by_status ON workflows (namespace, status, id DESC);
CREATE INDEX workflows_by_definition ON workflows (namespace, definition, id DESC);
CREATE INDEX workflows_by_key ON workflows (namespace, idempotency_key) WHERE idempotency_key <> '';

CREATE TABLE start_keys (
    namespace      TEXT NOT NULL,
    key            TEXT NOT NULL,
    workflow_id    BLOB NOT NULL,
    request_digest TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE TABLE events (
    workflow_id BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    PRIMARY KEY (workflow_id, seq)
) WITHOUT ROWID;

-- The dispatch ledger: exactly the commands and timers that are owed.
CREATE TABLE dispatch (
    workflow_id BLOB    NOT NULL,
    key         TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    namespace   TEXT    NOT NULL,
    service     TEXT,
    kind        TEXT    NOT NULL,   -- run, held, withdraw
    queue       TEXT    NOT NULL,   -- namespace/service/side; empty for a row that no service processes
    due_at      INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, key)
) WITHOUT ROWID;
CREATE INDEX dispatch_due ON dispatch (queue, due_at);

CREATE TABLE definitions (
    namespace     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    definition    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    source_format TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    actor         TEXT,
    PRIMARY KEY (namespace, name, version)
) WITHOUT ROWID;

CREATE TABLE services (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

-- Durable counters: epochs, and the newest fencing token of each election.
CREATE TABLE epochs (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
