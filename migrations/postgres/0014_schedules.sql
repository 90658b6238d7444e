-- Schedules. The record is JSON of the crate `schedule`.
CREATE TABLE schedules (
    namespace TEXT   COLLATE "C" NOT NULL,
    name      TEXT   COLLATE "C" NOT NULL,
    revision  BIGINT NOT NULL,              -- of the writer, for compare-and-set
    next_due  BIGINT,                       -- when it needs attention; NULL while it is paused
    record    TEXT   NOT NULL,
    PRIMARY KEY (namespace, name)
);

-- The leader reads the schedules that are due, in all namespaces.
CREATE INDEX schedules_due ON schedules (next_due) WHERE next_due IS NOT NULL;
