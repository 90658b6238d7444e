-- Leases and checkpoints of the shards of a stream, for queues that do not assign shards to consumers. Times are by the
-- database's clock.
CREATE TABLE shard_leases (
    stream            TEXT   NOT NULL,
    shard             TEXT   NOT NULL,
    parents           TEXT   NOT NULL,   -- JSON: the shards that must be consumed before this one
    owner             TEXT,
    counter           BIGINT NOT NULL,   -- rises by one each time the lease is acquired
    expires_at        BIGINT NOT NULL,
    checkpoint        TEXT   NOT NULL,
    taken             BIGINT NOT NULL,
    waiting           BIGINT NOT NULL,
    oldest_waiting_ms BIGINT,
    PRIMARY KEY (stream, shard)
-- The table has few rows, which are updated all the time.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
