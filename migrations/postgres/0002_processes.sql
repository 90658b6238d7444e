-- Members: one row for each process, which the process renews. Times are by the database's clock.
CREATE TABLE members (
    instance TEXT   NOT NULL PRIMARY KEY,   -- the identity of the process, random at each start
    kind     TEXT   NOT NULL,
    address  TEXT   NOT NULL,
    about    TEXT   NOT NULL,               -- JSON
    since    BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL,
    lives    BIGINT NOT NULL                -- TTL in microseconds, counted from seen_at
) WITH (fillfactor = 50);

-- Dead letters: messages that could not be processed, with the reason.
CREATE TABLE dead_letters (
    id          TEXT   NOT NULL PRIMARY KEY,
    topic       TEXT   NOT NULL,
    message_key TEXT   NOT NULL,
    payload     BYTEA  NOT NULL,
    reason      TEXT   NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX dead_letters_newest ON dead_letters (at DESC, id DESC);
