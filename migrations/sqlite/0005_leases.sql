-- Who reads which shard of a stream, until when, and how far: for queues that leave that to their readers.
CREATE TABLE shard_leases (
    stream            TEXT    NOT NULL,
    shard             TEXT    NOT NULL,
    parents           TEXT    NOT NULL,   -- JSON: the shards that are read to their ends before it
    owner             TEXT,
    counter           INTEGER NOT NULL,   -- raised each time that it is taken
    expires_at        INTEGER NOT NULL,
    checkpoint        TEXT    NOT NULL,
    taken             INTEGER NOT NULL,
    waiting           INTEGER NOT NULL,
    oldest_waiting_ms INTEGER,
    PRIMARY KEY (stream, shard)
) WITHOUT ROWID;
