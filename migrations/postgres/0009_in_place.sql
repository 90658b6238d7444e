-- A new version of a row stays on its page, and no index hears of it, as long as nothing changes that an index names,
-- be it in its condition: while one named the status, four of five transitions wrote a row elsewhere and to an index.
-- The few that are open and not on their way forward have a column of their own, which is empty for all others.
ALTER TABLE workflows ADD COLUMN astray TEXT GENERATED ALWAYS AS
    (CASE WHEN status IN ('ROLLING_BACK', 'PAUSED', 'ERROR') THEN status END) STORED;
DROP INDEX workflows_astray;
CREATE INDEX workflows_astray ON workflows (namespace, astray, id DESC) WHERE astray IS NOT NULL;

-- Names that only have to be the same or not: compared byte by byte.
ALTER TABLE dispatch ALTER COLUMN key TYPE TEXT COLLATE "C", ALTER COLUMN queue TYPE TEXT COLLATE "C";
