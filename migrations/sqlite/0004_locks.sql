-- Locks. A lock is free when its lease has expired. The row of a free lock is kept for some time. `epochs` has the counter
-- of the fencing tokens.
CREATE TABLE locks (
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    token       INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
