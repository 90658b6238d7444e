-- The audit log. A record contains the hash of the record before it, see crates/store/src/audit.
CREATE TABLE audit_log (
    seq          INTEGER NOT NULL PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    at           INTEGER NOT NULL,
    actor        TEXT    NOT NULL,
    credential   TEXT,
    source       TEXT,
    action       TEXT    NOT NULL,
    namespace    TEXT,
    target_kind  TEXT,
    target_name  TEXT,
    outcome      TEXT    NOT NULL,
    code         TEXT,
    count        INTEGER NOT NULL,
    value_before TEXT,
    value_after  TEXT,
    trace_id     TEXT,
    prev_hash    TEXT    NOT NULL,
    hash         TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_log_actor ON audit_log (actor, seq);

-- The last record.
CREATE TABLE audit_head (
    seq  INTEGER NOT NULL,
    hash TEXT    NOT NULL
) STRICT;
INSERT INTO audit_head (seq, hash)
VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');
