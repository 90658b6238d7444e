-- Payloads that workflows carry by reference, in chunks.
CREATE TABLE payloads (
    namespace TEXT   COLLATE "C" NOT NULL,
    digest    BYTEA  NOT NULL,              -- SHA-256 of the text
    chunks    BIGINT NOT NULL,              -- the number of chunks of a complete payload
    check_at  BIGINT,                       -- when the maintenance checks whether it is used; NULL if it is
    PRIMARY KEY (namespace, digest)
);

CREATE INDEX payloads_to_check ON payloads (check_at) WHERE check_at IS NOT NULL;

CREATE TABLE payload_chunks (
    namespace TEXT   COLLATE "C" NOT NULL,
    digest    BYTEA  NOT NULL,
    number    BIGINT NOT NULL,              -- from 0
    data      BYTEA  NOT NULL,
    PRIMARY KEY (namespace, digest, number)
);

-- Text compresses well, but encrypted text does not, and a chunk is read as a whole.
ALTER TABLE payload_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

-- The workflows that keep a payload. A link is older than the workflow that it names.
CREATE TABLE payload_links (
    workflow_id UUID  NOT NULL,
    namespace   TEXT  COLLATE "C" NOT NULL,
    digest      BYTEA NOT NULL,
    PRIMARY KEY (workflow_id, namespace, digest)
);

CREATE INDEX payload_links_by_payload ON payload_links (namespace, digest);
