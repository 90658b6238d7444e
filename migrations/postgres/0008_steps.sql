-- A transition of an existing workflow. `workflow_row` is for starts. Most writes of a batch are transitions. With this
-- type, the server decodes half as many values and copies each state once less.
CREATE TYPE step_row AS (
    id       UUID,
    from_seq BIGINT,
    status   TEXT,
    cause    TEXT,
    seq      BIGINT,
    state    TEXT,
    ended_at BIGINT,
    error    TEXT,
    ends     BOOLEAN
);
