-- What all processes agree on, such as which queue they use. Changed by who knows the newest revision only.
CREATE TABLE agreements (
    name     TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    value    TEXT   NOT NULL,               -- JSON
    since    BIGINT NOT NULL                -- by the database's clock
) WITH (fillfactor = 50);
