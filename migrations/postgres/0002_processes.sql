-- Who is there: one row a process, kept fresh by the process itself. Times are the database's.
CREATE TABLE members (
    instance TEXT   NOT NULL PRIMARY KEY,   -- a random identity at each boot
    kind     TEXT   NOT NULL,
    address  TEXT   NOT NULL,
    about    TEXT   NOT NULL,               -- JSON
    since    BIGINT NOT NULL,
    seen_at  BIGINT NOT NULL,
    lives    BIGINT NOT NULL                -- microseconds after seen_at
) WITH (fillfactor = 50);

-- Messages that are no command, with the reason.
CREATE TABLE dead_letters (
    id          TEXT   NOT NULL PRIMARY KEY,
    topic       TEXT   NOT NULL,
    message_key TEXT   NOT NULL,
    payload     BYTEA  NOT NULL,
    reason      TEXT   NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX dead_letters_newest ON dead_letters (at DESC, id DESC);
