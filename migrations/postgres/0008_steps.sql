-- What a transition of a workflow that is there says; `workflow_row` is what a start says. Most of a group are
-- transitions: the server takes half as many values apart, and copies each state once less.
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
