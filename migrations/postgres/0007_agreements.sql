-- Configuration entries, on which all processes agree, such as the queue in use. A change requires the current revision.
CREATE TABLE agreements (
    name     TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    value    TEXT   NOT NULL,               -- JSON
    since    BIGINT NOT NULL                -- by the database's clock
) WITH (fillfactor = 50);
