-- Enables HOT updates: a new row version stays on its page and writes to no index if no column changes that an index
-- uses, including in its condition. With an index on the status, four of five transitions wrote to another page and to an
-- index. The column `astray` contains the status of the few open workflows that may need attention, and is NULL for all
-- others.
ALTER TABLE workflows ADD COLUMN astray TEXT GENERATED ALWAYS AS
    (CASE WHEN status IN ('ROLLING_BACK', 'PAUSED', 'ERROR') THEN status END) STORED;
DROP INDEX workflows_astray;
CREATE INDEX workflows_astray ON workflows (namespace, astray, id DESC) WHERE astray IS NOT NULL;

-- These names are compared only for equality, so a comparison of bytes is sufficient.
ALTER TABLE dispatch ALTER COLUMN key TYPE TEXT COLLATE "C", ALTER COLUMN queue TYPE TEXT COLLATE "C";
