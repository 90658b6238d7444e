-- The locks that workflows wait for or hold. A claim waits while it has no token. The claims of a key are served in the
-- order of their arrival. The hold itself is the row of `locks`, so that workflows and other owners exclude each other.
CREATE SEQUENCE lock_arrivals AS BIGINT;
CREATE TABLE lock_claims (
    workflow_id UUID                      NOT NULL,
    row_key     TEXT    COLLATE "C"       NOT NULL,   -- the key of the ledger row that waits
    namespace   TEXT    COLLATE "C"       NOT NULL,
    key         TEXT    COLLATE "C"       NOT NULL,
    shared      BOOLEAN                   NOT NULL,
    arrival     BIGINT                    NOT NULL,
    token       BIGINT,
    PRIMARY KEY (workflow_id, row_key, key)
);
CREATE INDEX lock_claims_by_key ON lock_claims (namespace, key, arrival);
