-- Counts of ended workflows. Open workflows are counted on request.
CREATE TABLE ended_counts (
    namespace  TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    PRIMARY KEY (namespace, definition, version, status, cause)
) WITHOUT ROWID;
INSERT INTO ended_counts SELECT namespace, definition, version, status, cause, count(*) FROM workflows
    WHERE ended_at IS NOT NULL GROUP BY namespace, definition, version, status, cause;

-- `start_keys` replaces this index.
DROP INDEX workflows_by_key;
