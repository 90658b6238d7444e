-- Keeps the size and the speed constant over years: the history is partitioned, and partitions are dropped after the
-- retention. Ended workflows are counted in advance. Indexes that no plan uses are dropped.

-- Partitions are bounded by the time in the workflow's id (UUIDv7: milliseconds in the first 48 bits). The maintenance
-- creates them ahead of time. Rows without a partition are in `events_other`.
ALTER TABLE events RENAME TO events_before;
ALTER INDEX events_pkey RENAME TO events_before_pkey;
CREATE TABLE events (
    workflow_id UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, seq)
) PARTITION BY RANGE (workflow_id);
CREATE TABLE events_other PARTITION OF events DEFAULT;
-- Existing rows become a partition that ends at the next midnight (UTC).
DO $$
DECLARE
    midnight BIGINT := (floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint + 1) * 86400000;
    bound    UUID   := (lpad(to_hex(midnight), 12, '0') || repeat('0', 20))::uuid;
BEGIN
    WITH later AS (DELETE FROM events_before WHERE workflow_id >= bound RETURNING *)
    INSERT INTO events_other SELECT * FROM later;
    IF EXISTS (SELECT 1 FROM events_before) THEN
        EXECUTE format('ALTER TABLE events ATTACH PARTITION events_before FOR VALUES FROM (MINVALUE) TO (%L)', bound);
    ELSE
        DROP TABLE events_before;
    END IF;
END $$;

-- Counts of ended workflows. A count is the sum of its rows: each batch of writes inserts rows instead of updating shared
-- ones, so batches do not wait for each other. The maintenance merges the rows. Open workflows are counted on request.
CREATE TABLE ended_counts (
    namespace  TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    count      BIGINT  NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
INSERT INTO ended_counts SELECT namespace, definition, version, status, cause, count(*) FROM workflows
    WHERE ended_at IS NOT NULL GROUP BY namespace, definition, version, status, cause;

-- The key of lists by status. With an index on the status itself, every transition would write to every index of the
-- table. This column changes rarely, mostly when the workflow ends.
ALTER TABLE workflows ADD COLUMN listed TEXT NOT NULL GENERATED ALWAYS AS
    (CASE WHEN status IN ('QUEUED', 'IN_PROGRESS') THEN 'OPEN' ELSE status END) STORED;
DROP INDEX workflows_by_status;
CREATE INDEX workflows_by_status ON workflows (namespace, listed, id DESC);
-- `start_keys` replaces this index.
DROP INDEX workflows_by_key;
-- The index has no entries for workflows without labels.
CREATE INDEX workflows_by_label ON workflows USING gin (labels jsonb_path_ops) WHERE labels <> '{}'::jsonb;

-- The ranges that a claim reads: rows that were never delivered and are due; delivered rows that are due; delivered rows
-- that were issued before the oldest message in their queue. A claim does not read rows that are still queued or not due,
-- of which there may be a hundred thousand.
DROP INDEX dispatch_due;
CREATE INDEX dispatch_new ON dispatch (queue, due_at) WHERE deliveries = 0;
CREATE INDEX dispatch_delivered ON dispatch (queue, due_at) WHERE deliveries > 0;
CREATE INDEX dispatch_taken ON dispatch (queue, issued_at) WHERE deliveries > 0 AND kind <> 'held';
