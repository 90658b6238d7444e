-- Steady over years: history in partitions that retention drops, totals of what has ended, and only such
-- indexes as a plan uses.

-- Partitions are bounded by the time in the workflow's id (UUIDv7: milliseconds in the first 48 bits). They
-- are made ahead of time by whoever keeps the store; what fits none is in `events_other`.
ALTER TABLE events RENAME TO events_before;
ALTER INDEX events_pkey RENAME TO events_before_pkey;
CREATE TABLE events (
    workflow_id UUID   NOT NULL,
    seq         BIGINT NOT NULL,
    body        TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, seq)
) PARTITION BY RANGE (workflow_id);
CREATE TABLE events_other PARTITION OF events DEFAULT;
-- What is there already is a partition of its own, up to the next midnight (UTC).
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

-- How many have ended, as what: sums, as each group of writes adds rows of its own and waits for nobody.
-- They are folded from time to time. What has not ended is counted when somebody asks.
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

-- What a list by status looks for. An index on the status itself would have every step forward touch every
-- index of the table; this one changes where somebody would look for the workflow: at its end, mostly.
ALTER TABLE workflows ADD COLUMN listed TEXT NOT NULL GENERATED ALWAYS AS
    (CASE WHEN status IN ('QUEUED', 'IN_PROGRESS') THEN 'OPEN' ELSE status END) STORED;
DROP INDEX workflows_by_status;
CREATE INDEX workflows_by_status ON workflows (namespace, listed, id DESC);
-- `start_keys` finds them.
DROP INDEX workflows_by_key;
-- Costs nothing where there are no labels.
CREATE INDEX workflows_by_label ON workflows USING gin (labels jsonb_path_ops) WHERE labels <> '{}'::jsonb;

-- What a claim looks for: what was never delivered and is due; what was, and is due; what was, and was issued
-- before the oldest message that still waits in its queue. A hundred thousand rows that wait in a queue, or
-- for their time, are then read by nobody.
DROP INDEX dispatch_due;
CREATE INDEX dispatch_new ON dispatch (queue, due_at) WHERE deliveries = 0;
CREATE INDEX dispatch_delivered ON dispatch (queue, due_at) WHERE deliveries > 0;
CREATE INDEX dispatch_taken ON dispatch (queue, issued_at) WHERE deliveries > 0 AND kind <> 'held';
