-- Batches: one operation on many workflows. The workflows of a batch are selected once, see docs/adr/0107.
CREATE TABLE batches (
    id          UUID   NOT NULL PRIMARY KEY,   -- UUIDv7: ordered by the time of the creation
    namespace   TEXT   COLLATE "C" NOT NULL,
    status      TEXT   NOT NULL,               -- SELECTING, RUNNING, PAUSED, COMPLETED, CANCELLED, DISCARDED
    operation   TEXT   NOT NULL,
    step        TEXT   NOT NULL,               -- empty if the operation has none
    filter      TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    actor       TEXT   NOT NULL,               -- empty if the caller has no name
    rate        BIGINT NOT NULL,               -- operations per second
    created_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    total       BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,               -- by the database's clock
    lease_token BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX batches_newest ON batches (namespace, id DESC);
-- Each gateway asks for running batches once a second.
CREATE INDEX batches_running ON batches (id) WHERE status = 'RUNNING';

CREATE TABLE batch_items (
    batch_id    UUID   NOT NULL,
    workflow_id UUID   NOT NULL,
    status      TEXT   COLLATE "C" NOT NULL,   -- PENDING, STARTED, DONE, REFUSED, FAILED
    seq         BIGINT NOT NULL,               -- of the workflow before the operation
    code        TEXT,
    detail      TEXT,
    ended_at    BIGINT,
    PRIMARY KEY (batch_id, workflow_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX batch_items_status ON batch_items (batch_id, status, workflow_id);

-- Workflows with an error, by its code. The column changes at most twice in the life of a workflow, and not at all if no
-- step fails, so the index does not prevent HOT updates.
CREATE INDEX workflows_by_error_code ON workflows
    (namespace, (substring(error FROM '"code":"((?:[^"\\]|\\.)*)"') COLLATE "C"), id DESC) WHERE error IS NOT NULL;
