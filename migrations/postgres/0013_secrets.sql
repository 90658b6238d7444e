-- Secrets. A deleted secret keeps its row, so that its versions are not used again.
CREATE TABLE secrets (
    namespace  TEXT   COLLATE "C" NOT NULL,
    name       TEXT   COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,             -- the newest one
    created_at BIGINT NOT NULL,             -- by the database's clock
    updated_at BIGINT NOT NULL,
    deleted    BOOLEAN NOT NULL,
    PRIMARY KEY (namespace, name)
);

-- The versions of secrets. The value is sealed with a data key, and the data key with the master key `key_id`.
CREATE TABLE secret_versions (
    namespace   TEXT   COLLATE "C" NOT NULL,
    name        TEXT   COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    key_id      TEXT   NOT NULL,
    wrapped_key BYTEA  NOT NULL,
    sealed      BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (namespace, name, version)
);
