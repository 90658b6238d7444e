-- Secrets. A deleted secret keeps its row, so that its versions are not used again.
CREATE TABLE secrets (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,            -- the newest one
    created_at INTEGER NOT NULL,            -- by the database's clock
    updated_at INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;

-- The versions of secrets. The value is sealed with a data key, and the data key with the master key `key_id`.
CREATE TABLE secret_versions (
    namespace   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    key_id      TEXT    NOT NULL,
    wrapped_key BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, version)
) WITHOUT ROWID;
