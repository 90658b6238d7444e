-- Members: one row for each process, which the process renews.
CREATE TABLE members (
    instance TEXT    NOT NULL PRIMARY KEY,   -- the identity of the process, random at each start
    kind     TEXT    NOT NULL,
    address  TEXT    NOT NULL,
    about    TEXT    NOT NULL,               -- JSON
    since    INTEGER NOT NULL,
    seen_at  INTEGER NOT NULL,
    lives    INTEGER NOT NULL                -- TTL in microseconds, counted from seen_at
) WITHOUT ROWID;

-- Dead letters: messages that could not be processed, with the reason.
CREATE TABLE dead_letters (
    id          TEXT    NOT NULL PRIMARY KEY,
    topic       TEXT    NOT NULL,
    message_key TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX dead_letters_newest ON dead_letters (at DESC, id DESC);
