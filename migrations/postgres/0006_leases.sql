-- Who reads which shard of a stream, until when, and how far: for queues that leave that to their readers.
-- Times are the database's.
CREATE TABLE shard_leases (
    stream            TEXT   NOT NULL,
    shard             TEXT   NOT NULL,
    parents           TEXT   NOT NULL,   -- JSON: the shards that are read to their ends before it
    owner             TEXT,
    counter           BIGINT NOT NULL,   -- raised each time that it is taken
    expires_at        BIGINT NOT NULL,
    checkpoint        TEXT   NOT NULL,
    taken             BIGINT NOT NULL,
    waiting           BIGINT NOT NULL,
    oldest_waiting_ms BIGINT,
    PRIMARY KEY (stream, shard)
-- Few rows, written all the time.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
