-- Locks for services, and for whatever takes one by name. A lock is free once its lease is over; a row that is
-- free stays for a while. Their tokens are counted in `epochs`.
CREATE TABLE locks (
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    token       INTEGER NOT NULL,
    acquired_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
