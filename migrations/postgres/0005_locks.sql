-- Locks for services, and for whatever takes one by name. A lock is free once its lease is over; a row that is
-- free stays for a while, so that whoever takes the lock again finds it and gets a higher token.
CREATE SEQUENCE lock_tokens AS BIGINT;
CREATE TABLE locks (
    namespace   TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    owner       TEXT             NOT NULL,
    token       BIGINT           NOT NULL,
    acquired_at BIGINT           NOT NULL,   -- microseconds since 1970
    expires_at  BIGINT           NOT NULL,   -- by the database's clock; a release sets it to its own time
    PRIMARY KEY (namespace, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
