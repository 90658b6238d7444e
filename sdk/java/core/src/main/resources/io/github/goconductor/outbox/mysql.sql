-- Events that a transaction emits, until they are published.
CREATE TABLE IF NOT EXISTS goconductor_outbox (
    seq     BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id      VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL UNIQUE, -- the idempotency key of the event
    topic   VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    payload LONGTEXT     CHARACTER SET utf8mb4 NOT NULL,                            -- JSON
    at      TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE = InnoDB
