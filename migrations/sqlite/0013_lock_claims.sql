-- The locks that workflows wait for or hold. A claim waits while it has no token. The claims of a key are served in the
-- order of their arrival. The hold itself is the row of `locks`, so that workflows and other owners exclude each other.
-- `epochs` has the counter of the arrivals.
CREATE TABLE lock_claims (
    workflow_id BLOB    NOT NULL,
    row_key     TEXT    NOT NULL,            -- the key of the ledger row that waits
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    shared      INTEGER NOT NULL,
    arrival     INTEGER NOT NULL,
    token       INTEGER,
    PRIMARY KEY (workflow_id, row_key, key)
) WITHOUT ROWID;
CREATE INDEX lock_claims_by_key ON lock_claims (namespace, key, arrival);
