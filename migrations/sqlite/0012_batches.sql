-- Batches: one operation on many workflows. The workflows of a batch are selected once, see docs/adr/0107.
CREATE TABLE batches (
    id          BLOB    NOT NULL PRIMARY KEY,   -- UUIDv7: ordered by the time of the creation
    namespace   TEXT    NOT NULL,
    status      TEXT    NOT NULL,               -- SELECTING, RUNNING, PAUSED, COMPLETED, CANCELLED, DISCARDED
    operation   TEXT    NOT NULL,
    step        TEXT    NOT NULL,               -- empty if the operation has none
    filter      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    actor       TEXT    NOT NULL,               -- empty if the caller has no name
    rate        INTEGER NOT NULL,               -- operations per second
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    total       INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    refused     INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,               -- by the database's clock
    lease_token INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX batches_newest ON batches (namespace, id DESC);
-- Each gateway asks for running batches once a second.
CREATE INDEX batches_running ON batches (id) WHERE status = 'RUNNING';

CREATE TABLE batch_items (
    batch_id    BLOB    NOT NULL,
    workflow_id BLOB    NOT NULL,
    status      TEXT    NOT NULL,               -- PENDING, STARTED, DONE, REFUSED, FAILED
    seq         INTEGER NOT NULL,               -- of the workflow before the operation
    code        TEXT,
    detail      TEXT,
    ended_at    INTEGER,
    PRIMARY KEY (batch_id, workflow_id)
) WITHOUT ROWID;
CREATE INDEX batch_items_status ON batch_items (batch_id, status, workflow_id);

-- Workflows with an error, by its code.
CREATE INDEX workflows_by_error_code ON workflows
    (namespace, (CASE WHEN json_valid(error) THEN json_extract(error, '$.code') END), id DESC) WHERE error IS NOT NULL;
