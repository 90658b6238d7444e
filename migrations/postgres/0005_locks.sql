-- Locks. A lock is free when its lease has expired. The row of a free lock is kept for some time, so that the next owner
-- gets a higher token.
CREATE SEQUENCE lock_tokens AS BIGINT;
CREATE TABLE locks (
    namespace   TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    owner       TEXT             NOT NULL,
    token       BIGINT           NOT NULL,
    acquired_at BIGINT           NOT NULL,   -- microseconds since the Unix epoch
    expires_at  BIGINT           NOT NULL,   -- by the database's clock; a release sets it to the current time
    PRIMARY KEY (namespace, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
