-- The credentials that the API issues. The secret of a key is not stored, only a digest.
CREATE TABLE access_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    scope      TEXT    NOT NULL,   -- roles, namespaces and services as JSON
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,   -- microseconds since the Unix epoch
    expires_at INTEGER,
    revoked_at INTEGER
) WITHOUT ROWID;
-- One row: a number that rises with each change of a key, in the same transaction.
CREATE TABLE access_revision (revision INTEGER NOT NULL);
INSERT INTO access_revision (revision) VALUES (0);
