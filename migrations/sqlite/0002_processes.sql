-- Who is there: one row a process, kept fresh by the process itself.
CREATE TABLE members (
    instance TEXT    NOT NULL PRIMARY KEY,   -- a random identity at each boot
    kind     TEXT    NOT NULL,
    address  TEXT    NOT NULL,
    about    TEXT    NOT NULL,               -- JSON
    since    INTEGER NOT NULL,
    seen_at  INTEGER NOT NULL,
    lives    INTEGER NOT NULL                -- microseconds after seen_at
) WITHOUT ROWID;

-- Messages that are no command, with the reason.
CREATE TABLE dead_letters (
    id          TEXT    NOT NULL PRIMARY KEY,
    topic       TEXT    NOT NULL,
    message_key TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX dead_letters_newest ON dead_letters (at DESC, id DESC);
