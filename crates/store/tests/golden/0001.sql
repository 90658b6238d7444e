PRAGMA user_version = 1;
CREATE TABLE workflows (
    id              BLOB    NOT NULL PRIMARY KEY,   -- UUIDv7: sorts by the time of the start
    namespace       TEXT    NOT NULL,
    definition      TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    status          TEXT    NOT NULL,
    cause           TEXT    NOT NULL,               -- empty: none
    seq             INTEGER NOT NULL,
    state           TEXT    NOT NULL,               -- JSON, with its own format number
    created_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    idempotency_key TEXT    NOT NULL,               -- empty: none
    labels          TEXT    NOT NULL,
    error           TEXT
) WITHOUT ROWID;
CREATE INDEX workflows_newest ON workflows (namespace, id DESC);
CREATE INDEX workflows_by_status ON workflows (namespace, status, id DESC);
CREATE INDEX workflows_by_definition ON workflows (namespace, definition, id DESC);
CREATE INDEX workflows_by_key ON workflows (namespace, idempotency_key) WHERE idempotency_key <> '';
CREATE TABLE start_keys (
    namespace      TEXT NOT NULL,
    key            TEXT NOT NULL,
    workflow_id    BLOB NOT NULL,
    request_digest TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE TABLE events (
    workflow_id BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    PRIMARY KEY (workflow_id, seq)
) WITHOUT ROWID;
CREATE TABLE dispatch (
    workflow_id BLOB    NOT NULL,
    key         TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    namespace   TEXT    NOT NULL,
    service     TEXT,
    kind        TEXT    NOT NULL,   -- run, held, withdraw
    queue       TEXT    NOT NULL,   -- namespace/service/side; empty for what no service has to do
    due_at      INTEGER NOT NULL,
    deliveries  INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, key)
) WITHOUT ROWID;
CREATE INDEX dispatch_due ON dispatch (queue, due_at);
CREATE TABLE definitions (
    namespace     TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    definition    TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    source_format TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    actor         TEXT,
    PRIMARY KEY (namespace, name, version)
) WITHOUT ROWID;
CREATE TABLE services (
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
CREATE TABLE epochs (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO definitions VALUES ('default', 'full', 1, 'digest of full', '{"format":1,"name":"full","labels":{"it''s":"100% \"ünï\""},"timeout":600000,"steps":[{"name":"reserve","join":"all","action":{"run":{"service":"stock","action":"do"}},"kind":"compensatable","compensate":{"action":{"run":{"service":"stock","action":"undo"}},"retry":{"max_attempts":1,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout_ms":30000},"retry":{"max_attempts":2,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}},{"name":"charge","depends_on":[0],"join":"all","action":{"run":{"service":"payments","action":"do"}},"kind":"compensatable","compensate":{"action":{"run":{"service":"payments","action":"undo"}},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout_ms":30000},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000,"queue_ms":20000,"total_ms":60000}},{"name":"ship","depends_on":[1],"join":"all","action":{"run":{"service":"shipping","action":"do"}},"kind":"pivot","retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}},{"name":"tell","depends_on":[2],"join":"all","action":{"run":{"service":"mail","action":"do"}},"kind":"retriable","retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}}]}', 'name: full # it''s ünï
', 'yaml', 1795468639425419, 'ops');
INSERT INTO definitions VALUES ('default', 'order', 1, 'digest of order', '{"format":1,"name":"order","steps":[{"name":"reserve","join":"all","action":{"run":{"service":"stock","action":"do"}},"kind":"compensatable","compensate":{"action":{"run":{"service":"stock","action":"undo"}},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout_ms":30000},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}},{"name":"charge","depends_on":[0],"join":"all","action":{"run":{"service":"payments","action":"do"}},"kind":"compensatable","compensate":{"action":{"run":{"service":"payments","action":"undo"}},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout_ms":30000},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}},{"name":"ship","depends_on":[1],"join":"all","action":{"run":{"service":"shipping","action":"do"}},"kind":"compensatable","compensate":{"action":{"run":{"service":"shipping","action":"undo"}},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout_ms":30000},"retry":{"max_attempts":10,"initial_ms":200,"backoff":{"exponential":{"factor":2.0}},"max_ms":30000,"jitter":0.2},"timeout":{"attempt_ms":30000}}]}', 'name: order # it''s ünï
', 'yaml', 1795468639424423, 'ops');
INSERT INTO dispatch VALUES (X'0199C000000070008000000000000003', '1/execute', 1, 'default', 'payments', 'held', 'default/payments/execute', 9223372036854775807, 0, 1760000001000000);
INSERT INTO dispatch VALUES (X'0199C000000070008000000000000004', '1/execute', 1, 'default', 'payments', 'withdraw', '', 1760000002000000, 0, 1760000001000000);
INSERT INTO dispatch VALUES (X'0199C000000070008000000000000005', '0/execute', 1, 'default', 'stock', 'run', 'default/stock/execute', 1760000000000000, 0, 1760000000000000);
INSERT INTO dispatch VALUES (X'0199C000000070008000000000000005', 'timer/workflow', 0, 'default', NULL, 'run', '', 1760000600000000, 0, 1760000000000000);
INSERT INTO dispatch VALUES (X'0199C000000070008000000000000009', '1/compensate', 1, 'default', 'payments', 'run', 'default/payments/compensate', 1760000045000000, 1, 1760000040000000);
INSERT INTO epochs VALUES ('epoch/duties', 3);
INSERT INTO epochs VALUES ('fence/duties', 5);
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000001","namespace":"default","definition":"order","version":1,"steps":3,"input":{"float":1e-7,"nul":"\u0000","number":1,"text":"it''s ünï 🏳️‍🌈"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 3, '{"seq":3,"time":1760000001000000,"type":"ATTEMPT_FAILED","step":0,"side":"execute","attempt":1,"started_at":1760000000000000,"failure":{"code":"BUSY","message":"later"},"retry_at":1760000001223143}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 4, '{"seq":4,"time":1760000002000000,"type":"STEP_COMPLETED","step":0,"attempt":2,"started_at":1760000000000000,"output":0.1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 5, '{"seq":5,"time":1760000002000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 6, '{"seq":6,"time":1760000003000000,"type":"STEP_COMPLETED","step":1,"attempt":1,"started_at":1760000000000000,"output":{"step":1}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 7, '{"seq":7,"time":1760000003000000,"type":"STEP_QUEUED","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 8, '{"seq":8,"time":1760000004000000,"type":"STEP_COMPLETED","step":2,"attempt":1,"started_at":1760000000000000,"output":{"step":2}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000001', 9, '{"seq":9,"time":1760000004000000,"type":"WORKFLOW_COMPLETED","output":null}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000002","namespace":"default","definition":"order","version":1,"steps":3,"input":{"float":1e-7,"nul":"\u0000","number":2,"text":"it''s ünï 🏳️‍🌈"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 5, '{"seq":5,"time":1760000002000000,"type":"STEP_COMPLETED","step":1,"attempt":1,"started_at":1760000000000000,"output":{"step":1}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 6, '{"seq":6,"time":1760000002000000,"type":"STEP_QUEUED","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 7, '{"seq":7,"time":1760000003000000,"type":"STEP_FAILED","step":2,"attempt":1,"started_at":1760000000000000,"failure":{"code":"NO","message":"not today"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 8, '{"seq":8,"time":1760000003000000,"type":"ROLLBACK_STARTED","cause":"STEP_FAILED","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 9, '{"seq":9,"time":1760000003000000,"type":"COMPENSATION_QUEUED","step":1,"due_at":1760000003000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 10, '{"seq":10,"time":1760000004000000,"type":"STEP_COMPENSATED","step":1,"attempt":1,"started_at":1760000000000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 11, '{"seq":11,"time":1760000004000000,"type":"COMPENSATION_QUEUED","step":0,"due_at":1760000004000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 12, '{"seq":12,"time":1760000005000000,"type":"STEP_COMPENSATED","step":0,"attempt":1,"started_at":1760000000000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000002', 13, '{"seq":13,"time":1760000005000000,"type":"WORKFLOW_ROLLED_BACK"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000003', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000003","namespace":"default","definition":"order","version":1,"steps":3,"input":{"float":1e-7,"nul":"\u0000","number":3,"text":"it''s ünï 🏳️‍🌈"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000003', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000003', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000003', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000003', 5, '{"seq":5,"time":1760000002000000,"type":"WORKFLOW_PAUSED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000004","namespace":"default","definition":"order","version":1,"steps":3,"input":{"float":1e-7,"nul":"\u0000","number":4,"text":"it''s ünï 🏳️‍🌈"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 5, '{"seq":5,"time":1760000002000000,"type":"ROLLBACK_REQUESTED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000004', 6, '{"seq":6,"time":1760000002000000,"type":"ROLLBACK_STARTED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000005', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000005","namespace":"default","definition":"full","version":1,"steps":4,"input":{"float":1e-7,"nul":"\u0000","number":5,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"deadline":1760000600000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000005', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000005', 3, '{"seq":3,"time":1760000001000000,"type":"ATTEMPT_STARTED","step":0,"side":"execute","attempt":1,"started_at":1760000001000000,"deadline":1760000031000000,"executor":"one"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000006","namespace":"default","definition":"full","version":1,"steps":4,"input":{"float":1e-7,"nul":"\u0000","number":6,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"deadline":1760000600000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 5, '{"seq":5,"time":1760000002000000,"type":"WORKFLOW_PAUSED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 6, '{"seq":6,"time":1760000003000000,"type":"WORKFLOW_RESUMED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000006', 7, '{"seq":7,"time":1760000004000000,"actor":"ops","type":"WORKFLOW_TERMINATED","reason":"enough"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000007","namespace":"default","definition":"full","version":1,"steps":4,"input":{"float":1e-7,"nul":"\u0000","number":7,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"deadline":1760000600000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 5, '{"seq":5,"time":1760000002000000,"type":"STEP_COMPLETED","step":1,"attempt":1,"started_at":1760000000000000,"output":{"step":1}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 6, '{"seq":6,"time":1760000002000000,"type":"STEP_QUEUED","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 7, '{"seq":7,"time":1760000003000000,"type":"ROLLBACK_REQUESTED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 8, '{"seq":8,"time":1760000004000000,"type":"STEP_COMPLETED","step":2,"attempt":1,"started_at":1760000000000000,"output":{"step":2}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 9, '{"seq":9,"time":1760000004000000,"type":"ROLLBACK_REFUSED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 10, '{"seq":10,"time":1760000004000000,"type":"STEP_QUEUED","step":3}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 11, '{"seq":11,"time":1760000005000000,"type":"STEP_COMPLETED","step":3,"attempt":1,"started_at":1760000000000000,"output":{"big":18446744073709551615}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000007', 12, '{"seq":12,"time":1760000005000000,"type":"WORKFLOW_COMPLETED","output":null}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000008","namespace":"default","definition":"full","version":1,"steps":4,"input":{"float":1e-7,"nul":"\u0000","number":8,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"deadline":1760000600000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 3, '{"seq":3,"time":1760000001000000,"type":"ATTEMPT_FAILED","step":0,"side":"execute","attempt":1,"started_at":1760000000000000,"failure":{"code":"TIMED_OUT","message":"no answer","detail":[1]},"doubt_until":1760000030000000,"retry_at":1760000001173665}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 4, '{"seq":4,"time":1760000002000000,"type":"STEP_UNKNOWN","step":0,"attempt":2,"started_at":1760000000000000,"failure":{"code":"TIMED_OUT","message":"no answer","detail":[1]},"doubt_until":1760000030000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 5, '{"seq":5,"time":1760000002000000,"type":"ROLLBACK_STARTED","cause":"STEP_FAILED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 6, '{"seq":6,"time":1760000002000000,"type":"COMPENSATION_QUEUED","step":0,"due_at":1760000030000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 7, '{"seq":7,"time":1760000003000000,"type":"COMPENSATION_FAILED","step":0,"attempt":1,"started_at":1760000000000000,"failure":{"code":"NO","message":"can''t be undone"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 8, '{"seq":8,"time":1760000004000000,"actor":"ops","type":"STEP_RETRIED","step":0,"side":"compensate","reason":"by hand"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 9, '{"seq":9,"time":1760000005000000,"type":"COMPENSATION_FAILED","step":0,"attempt":2,"started_at":1760000000000000,"failure":{"code":"NO","message":"can''t be undone"}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 10, '{"seq":10,"time":1760000006000000,"actor":"ops","type":"COMPENSATION_SKIPPED","step":0,"reason":"by hand"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000008', 11, '{"seq":11,"time":1760000006000000,"actor":"ops","type":"WORKFLOW_ROLLED_BACK"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 1, '{"seq":1,"time":1760000000000000,"type":"WORKFLOW_STARTED","id":"0199c000-0000-7000-8000-000000000009","namespace":"default","definition":"full","version":1,"steps":4,"input":{"float":1e-7,"nul":"\u0000","number":9,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"deadline":1760000600000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 2, '{"seq":2,"time":1760000000000000,"type":"STEP_QUEUED","step":0}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 3, '{"seq":3,"time":1760000001000000,"type":"STEP_COMPLETED","step":0,"attempt":1,"started_at":1760000000000000,"output":{"step":0}}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 4, '{"seq":4,"time":1760000001000000,"type":"STEP_QUEUED","step":1}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 5, '{"seq":5,"time":1760000002000000,"type":"ATTEMPT_FAILED","step":1,"side":"execute","attempt":1,"started_at":1760000000000000,"failure":{"code":"BUSY","message":"later"},"retry_at":1760000002193359}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 6, '{"seq":6,"time":1760000003000000,"actor":"ops","type":"STEP_SKIPPED","step":1,"why":"OPERATOR","reason":"by hand","doubt_until":1760000033000000}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 7, '{"seq":7,"time":1760000003000000,"actor":"ops","type":"STEP_QUEUED","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 8, '{"seq":8,"time":1760000004000000,"type":"ROLLBACK_REQUESTED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 9, '{"seq":9,"time":1760000005000000,"type":"STEP_WITHDRAWN","step":2}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 10, '{"seq":10,"time":1760000005000000,"type":"ROLLBACK_STARTED","cause":"CANCELLED"}');
INSERT INTO events VALUES (X'0199C000000070008000000000000009', 11, '{"seq":11,"time":1760000005000000,"type":"COMPENSATION_QUEUED","step":1,"due_at":1760000033000000}');
INSERT INTO services VALUES ('default', 'stock', '{"http":{"url":"http://127.0.0.1:1"}}', 1760000003000000);
INSERT INTO start_keys VALUES ('default', 'key 1', X'0199C000000070008000000000000001', 'digest');
INSERT INTO start_keys VALUES ('default', 'key 3', X'0199C000000070008000000000000003', 'digest');
INSERT INTO start_keys VALUES ('default', 'key 5', X'0199C000000070008000000000000005', 'digest');
INSERT INTO start_keys VALUES ('default', 'key 7', X'0199C000000070008000000000000007', 'digest');
INSERT INTO start_keys VALUES ('default', 'key 9', X'0199C000000070008000000000000009', 'digest');
INSERT INTO workflows VALUES (X'0199C000000070008000000000000001', 'default', 'order', 1, 'COMPLETED', '', 9, '{"format":1,"id":"0199c000-0000-7000-8000-000000000001","namespace":"default","definition":"order","version":1,"seq":9,"phase":"completed","input":{"float":1e-7,"nul":"\u0000","number":1,"text":"it''s ünï 🏳️‍🌈"},"output":null,"created_at":1760000000000000,"ended_at":1760000004000000,"steps":[{"forward":"COMPLETED","execute":{"ended":2,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000002000000},"output":0.1},{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000002000000,"started_at":1760000000000000,"ended_at":1760000003000000},"output":{"step":1}},{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000003000000,"started_at":1760000000000000,"ended_at":1760000004000000},"output":{"step":2}}]}', 1760000000000000, 1760000004000000, 'key 1', '{}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000002', 'default', 'order', 1, 'ROLLED_BACK', 'STEP_FAILED', 13, '{"format":1,"id":"0199c000-0000-7000-8000-000000000002","namespace":"default","definition":"order","version":1,"seq":13,"phase":"rolled_back","cause":"STEP_FAILED","input":{"float":1e-7,"nul":"\u0000","number":2,"text":"it''s ünï 🏳️‍🌈"},"error":{"code":"NO","message":"not today"},"created_at":1760000000000000,"ended_at":1760000005000000,"steps":[{"forward":"COMPLETED","undo":"COMPENSATED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"compensate":{"ended":1,"queued_at":1760000004000000,"started_at":1760000000000000,"ended_at":1760000005000000},"output":{"step":0}},{"forward":"COMPLETED","undo":"COMPENSATED","execute":{"ended":1,"queued_at":1760000001000000,"started_at":1760000000000000,"ended_at":1760000002000000},"compensate":{"ended":1,"queued_at":1760000003000000,"started_at":1760000000000000,"ended_at":1760000004000000},"output":{"step":1}},{"forward":"FAILED","execute":{"ended":1,"queued_at":1760000002000000,"started_at":1760000000000000,"ended_at":1760000003000000},"error":{"code":"NO","message":"not today"}}]}', 1760000000000000, 1760000005000000, '', '{}', '{"code":"NO","message":"not today"}');
INSERT INTO workflows VALUES (X'0199C000000070008000000000000003', 'default', 'order', 1, 'PAUSED', '', 5, '{"format":1,"id":"0199c000-0000-7000-8000-000000000003","namespace":"default","definition":"order","version":1,"seq":5,"phase":"in_progress","paused":true,"input":{"float":1e-7,"nul":"\u0000","number":3,"text":"it''s ünï 🏳️‍🌈"},"created_at":1760000000000000,"steps":[{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"output":{"step":0}},{"forward":"QUEUED","execute":{"ended":0,"queued_at":1760000001000000,"due_at":1760000001000000}},{"forward":"PENDING"}]}', 1760000000000000, NULL, 'key 3', '{}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000004', 'default', 'order', 1, 'ROLLING_BACK', 'CANCELLED', 6, '{"format":1,"id":"0199c000-0000-7000-8000-000000000004","namespace":"default","definition":"order","version":1,"seq":6,"phase":"rolling_back","cause":"CANCELLED","input":{"float":1e-7,"nul":"\u0000","number":4,"text":"it''s ünï 🏳️‍🌈"},"created_at":1760000000000000,"steps":[{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"output":{"step":0}},{"forward":"QUEUED","execute":{"ended":0,"queued_at":1760000001000000,"due_at":1760000001000000}},{"forward":"PENDING"}]}', 1760000000000000, NULL, '', '{}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000005', 'default', 'full', 1, 'IN_PROGRESS', '', 3, '{"format":1,"id":"0199c000-0000-7000-8000-000000000005","namespace":"default","definition":"full","version":1,"seq":3,"phase":"in_progress","input":{"float":1e-7,"nul":"\u0000","number":5,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"created_at":1760000000000000,"deadline":1760000600000000,"steps":[{"forward":"IN_PROGRESS","execute":{"ended":0,"queued_at":1760000000000000,"started_at":1760000001000000,"due_at":1760000000000000,"running":{"started_at":1760000001000000,"deadline":1760000031000000,"executor":"one"}}},{"forward":"PENDING"},{"forward":"PENDING"},{"forward":"PENDING"}]}', 1760000000000000, NULL, 'key 5', '{"it''s":"100% \"ünï\""}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000006', 'default', 'full', 1, 'TERMINATED', '', 7, '{"format":1,"id":"0199c000-0000-7000-8000-000000000006","namespace":"default","definition":"full","version":1,"seq":7,"phase":"terminated","input":{"float":1e-7,"nul":"\u0000","number":6,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"created_at":1760000000000000,"ended_at":1760000004000000,"deadline":1760000600000000,"steps":[{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"output":{"step":0}},{"forward":"QUEUED","execute":{"ended":0,"queued_at":1760000001000000,"due_at":1760000001000000}},{"forward":"PENDING"},{"forward":"PENDING"}]}', 1760000000000000, 1760000004000000, '', '{"it''s":"100% \"ünï\""}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000007', 'default', 'full', 1, 'COMPLETED', '', 12, '{"format":1,"id":"0199c000-0000-7000-8000-000000000007","namespace":"default","definition":"full","version":1,"seq":12,"phase":"completed","input":{"float":1e-7,"nul":"\u0000","number":7,"text":"it''s ünï 🏳️‍🌈"},"output":null,"labels":{"it''s":"100% \"ünï\""},"created_at":1760000000000000,"ended_at":1760000005000000,"deadline":1760000600000000,"steps":[{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"output":{"step":0}},{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000001000000,"started_at":1760000000000000,"ended_at":1760000002000000},"output":{"step":1}},{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000002000000,"started_at":1760000000000000,"ended_at":1760000004000000},"output":{"step":2}},{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000004000000,"started_at":1760000000000000,"ended_at":1760000005000000},"output":{"big":18446744073709551615}}]}', 1760000000000000, 1760000005000000, 'key 7', '{"it''s":"100% \"ünï\""}', NULL);
INSERT INTO workflows VALUES (X'0199C000000070008000000000000008', 'default', 'full', 1, 'ROLLED_BACK', 'STEP_FAILED', 11, '{"format":1,"id":"0199c000-0000-7000-8000-000000000008","namespace":"default","definition":"full","version":1,"seq":11,"phase":"rolled_back","cause":"STEP_FAILED","input":{"float":1e-7,"nul":"\u0000","number":8,"text":"it''s ünï 🏳️‍🌈"},"error":{"code":"TIMED_OUT","message":"no answer","detail":[1]},"labels":{"it''s":"100% \"ünï\""},"created_at":1760000000000000,"ended_at":1760000006000000,"deadline":1760000600000000,"steps":[{"forward":"UNKNOWN","undo":"COMPENSATION_FAILED","execute":{"ended":2,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000002000000},"compensate":{"ended":2,"forgiven":1,"queued_at":1760000004000000,"started_at":1760000000000000,"ended_at":1760000006000000},"error":{"code":"NO","message":"can''t be undone"},"doubt_until":1760000030000000,"waived":true},{"forward":"PENDING"},{"forward":"PENDING"},{"forward":"PENDING"}]}', 1760000000000000, 1760000006000000, '', '{"it''s":"100% \"ünï\""}', '{"code":"TIMED_OUT","message":"no answer","detail":[1]}');
INSERT INTO workflows VALUES (X'0199C000000070008000000000000009', 'default', 'full', 1, 'ROLLING_BACK', 'CANCELLED', 11, '{"format":1,"id":"0199c000-0000-7000-8000-000000000009","namespace":"default","definition":"full","version":1,"seq":11,"phase":"rolling_back","cause":"CANCELLED","input":{"float":1e-7,"nul":"\u0000","number":9,"text":"it''s ünï 🏳️‍🌈"},"labels":{"it''s":"100% \"ünï\""},"created_at":1760000000000000,"deadline":1760000600000000,"steps":[{"forward":"COMPLETED","execute":{"ended":1,"queued_at":1760000000000000,"started_at":1760000000000000,"ended_at":1760000001000000},"output":{"step":0}},{"forward":"SKIPPED","undo":"COMPENSATION_QUEUED","execute":{"ended":1,"queued_at":1760000001000000,"started_at":1760000000000000,"ended_at":1760000003000000},"compensate":{"ended":0,"queued_at":1760000005000000,"due_at":1760000033000000},"error":{"code":"BUSY","message":"later"},"doubt_until":1760000033000000,"waived":true},{"forward":"PENDING"},{"forward":"PENDING"}]}', 1760000000000000, NULL, 'key 9', '{"it''s":"100% \"ünï\""}', NULL);
