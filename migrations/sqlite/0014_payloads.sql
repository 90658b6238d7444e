-- Payloads that workflows carry by reference, in chunks.
CREATE TABLE payloads (
    namespace TEXT    NOT NULL,
    digest    BLOB    NOT NULL,             -- SHA-256 of the text
    chunks    INTEGER NOT NULL,             -- the number of chunks of a complete payload
    check_at  INTEGER,                      -- when the maintenance checks whether it is used; NULL if it is
    PRIMARY KEY (namespace, digest)
) WITHOUT ROWID;

CREATE INDEX payloads_to_check ON payloads (check_at) WHERE check_at IS NOT NULL;

CREATE TABLE payload_chunks (
    namespace TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    number    INTEGER NOT NULL,             -- from 0
    data      BLOB    NOT NULL,
    PRIMARY KEY (namespace, digest, number)
);

-- The workflows that keep a payload. A link is older than the workflow that it names.
CREATE TABLE payload_links (
    workflow_id BLOB NOT NULL,
    namespace   TEXT NOT NULL,
    digest      BLOB NOT NULL,
    PRIMARY KEY (workflow_id, namespace, digest)
) WITHOUT ROWID;

CREATE INDEX payload_links_by_payload ON payload_links (namespace, digest);
