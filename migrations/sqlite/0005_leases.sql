-- Leases and checkpoints of the shards of a stream, for queues that do not assign shards to consumers.
CREATE TABLE shard_leases (
    stream            TEXT    NOT NULL,
    shard             TEXT    NOT NULL,
    parents           TEXT    NOT NULL,   -- JSON: the shards that must be consumed before this one
    owner             TEXT,
    counter           INTEGER NOT NULL,   -- rises by one each time the lease is acquired
    expires_at        INTEGER NOT NULL,
    checkpoint        TEXT    NOT NULL,
    taken             INTEGER NOT NULL,
    waiting           INTEGER NOT NULL,
    oldest_waiting_ms INTEGER,
    PRIMARY KEY (stream, shard)
) WITHOUT ROWID;
