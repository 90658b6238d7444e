-- The inbox of a participant in GoConductor's sagas. It records each request in the participant's own transaction, so
-- that a repeated request takes effect once, and no execute takes effect after its compensate.
--
--   BEGIN;
--   SELECT verdict, output FROM goconductor_inbox_execute('<Idempotency-Key>');
--     first    do the work, then SELECT goconductor_inbox_done('<Idempotency-Key>', '{"payment_id": "p-1"}');
--     repeat   do nothing, and respond with output
--     refused  the compensate arrived first: do nothing, and refuse the request permanently
--   COMMIT;
--
--   BEGIN;
--   SELECT verdict, output FROM goconductor_inbox_compensate('<Idempotency-Key>');
--     first    undo the work that returned output, then SELECT goconductor_inbox_undone('<Idempotency-Key>', 'null');
--     repeat   do nothing, and respond with output
--     nothing  the execute never arrived: respond with success; an execute that arrives later is refused
--   COMMIT;
--
-- A second transaction for the same step waits until the first has committed or rolled back.
CREATE TABLE IF NOT EXISTS goconductor_inbox (
    step     TEXT        NOT NULL PRIMARY KEY,   -- the idempotency key without its operation
    done     BOOLEAN     NOT NULL DEFAULT false,
    output   TEXT,                               -- JSON, the output of the execute
    undone   BOOLEAN     NOT NULL DEFAULT false,
    undo     TEXT,                               -- JSON, the output of the compensate
    at       TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS goconductor_inbox_at ON goconductor_inbox (at);

CREATE OR REPLACE FUNCTION goconductor_inbox_step(key TEXT, operation TEXT) RETURNS TEXT
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF key IS NULL OR key !~ ('^[^/]+/[^/]+/' || operation || '$') THEN
        RAISE EXCEPTION 'the idempotency key % is not <workflow>/<step>/%', key, operation
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN left(key, -length(operation) - 1);
END $$;

CREATE OR REPLACE FUNCTION goconductor_inbox_execute(key TEXT)
RETURNS TABLE (verdict TEXT, output TEXT) LANGUAGE plpgsql AS $$
DECLARE
    of TEXT := goconductor_inbox_step(key, 'execute');
    known goconductor_inbox;
BEGIN
    INSERT INTO goconductor_inbox (step) VALUES (of) ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM goconductor_inbox WHERE step = of FOR UPDATE;
    IF known.undone THEN
        RETURN QUERY SELECT 'refused', NULL::text;
    ELSIF known.done THEN
        RETURN QUERY SELECT 'repeat', known.output;
    ELSE
        RETURN QUERY SELECT 'first', NULL::text;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION goconductor_inbox_done(key TEXT, result TEXT) RETURNS VOID LANGUAGE sql AS $$
    UPDATE goconductor_inbox SET done = true, output = result
    WHERE step = goconductor_inbox_step(key, 'execute')
$$;

CREATE OR REPLACE FUNCTION goconductor_inbox_compensate(key TEXT)
RETURNS TABLE (verdict TEXT, output TEXT) LANGUAGE plpgsql AS $$
DECLARE
    of TEXT := goconductor_inbox_step(key, 'compensate');
    known goconductor_inbox;
BEGIN
    INSERT INTO goconductor_inbox (step) VALUES (of) ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM goconductor_inbox WHERE step = of FOR UPDATE;
    IF known.undone THEN
        RETURN QUERY SELECT 'repeat', known.undo;
    ELSIF known.done THEN
        RETURN QUERY SELECT 'first', known.output;
    ELSE
        -- The record refuses an execute that arrives later.
        UPDATE goconductor_inbox SET undone = true WHERE step = of;
        RETURN QUERY SELECT 'nothing', NULL::text;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION goconductor_inbox_undone(key TEXT, result TEXT) RETURNS VOID LANGUAGE sql AS $$
    UPDATE goconductor_inbox SET undone = true, undo = result
    WHERE step = goconductor_inbox_step(key, 'compensate')
$$;

-- Removes older records. A request whose record was removed would take effect again, so the age must exceed the
-- longest lifetime of a workflow.
CREATE OR REPLACE FUNCTION goconductor_inbox_prune(older INTERVAL DEFAULT '30 days') RETURNS BIGINT
LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM goconductor_inbox WHERE at < now() - older RETURNING 1)
    SELECT count(*) FROM gone
$$;
