-- The inbox of a participant in GoConductor's sagas, for MySQL 8 and MariaDB 10.6 and later. It records each request in
-- the participant's own transaction, so that a repeated request takes effect once, and no execute takes effect after its
-- compensate.
CREATE TABLE IF NOT EXISTS goconductor_inbox (
    step   VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, -- the key without its operation
    done   BOOLEAN      NOT NULL DEFAULT FALSE,
    output LONGTEXT     CHARACTER SET utf8mb4,                                          -- JSON, of the execute
    undone BOOLEAN      NOT NULL DEFAULT FALSE,
    `undo` LONGTEXT     CHARACTER SET utf8mb4,                                          -- JSON, of the compensate
    at     TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY goconductor_inbox_at (at)
) ENGINE = InnoDB
