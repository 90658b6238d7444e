-- Changes that are about to be made. An intent is deleted with the commit of the audit record of its change. One that stays
-- belongs to a process that ended in between.
CREATE TABLE audit_intents (
    id       TEXT    NOT NULL PRIMARY KEY,
    noted_at INTEGER NOT NULL,
    event    TEXT    NOT NULL
) STRICT;
