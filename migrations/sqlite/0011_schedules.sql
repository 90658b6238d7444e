-- Schedules. The record is JSON of the crate `schedule`.
CREATE TABLE schedules (
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    revision  INTEGER NOT NULL,             -- of the writer, for compare-and-set
    next_due  INTEGER,                      -- when it needs attention; NULL while it is paused
    record    TEXT    NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

-- The leader reads the schedules that are due, in all namespaces.
CREATE INDEX schedules_due ON schedules (next_due) WHERE next_due IS NOT NULL;
