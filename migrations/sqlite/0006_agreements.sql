-- Configuration entries, on which all processes agree, such as the queue in use. A change requires the current revision.
CREATE TABLE agreements (
    name     TEXT    NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    value    TEXT    NOT NULL,               -- JSON
    since    INTEGER NOT NULL                -- by the database's clock
) WITHOUT ROWID;
