//! Rows of the audit log that were changed by SQL.

use crate::postgres::{Database, execute};
use goconductor_saga::Timestamp;
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{AuditEvent, AuditHead, AuditRequest, AuditStore, AuditVerifier};

/// Changes of a log of ten records, and the record that the verification names, with the kind of the break.
const CHANGES: &[(&str, u64, &str)] = &[
    ("UPDATE audit_log SET actor = 'eve' WHERE seq = 4", 4, "ALTERED"),
    ("UPDATE audit_log SET at = at + 1 WHERE seq = 10", 10, "ALTERED"),
    ("UPDATE audit_log SET outcome = 'ALLOWED' WHERE seq = 1", 1, "ALTERED"),
    ("UPDATE audit_log SET value_after = NULL WHERE seq = 6", 6, "ALTERED"),
    ("UPDATE audit_log SET count = 2 WHERE seq = 6", 6, "ALTERED"),
    ("UPDATE audit_log SET hash = prev_hash WHERE seq = 5", 5, "ALTERED"),
    ("UPDATE audit_log SET prev_hash = hash WHERE seq = 5", 5, "INSERTED"),
    ("DELETE FROM audit_log WHERE seq = 1", 1, "REMOVED"),
    ("DELETE FROM audit_log WHERE seq IN (4, 5)", 4, "REMOVED"),
    ("DELETE FROM audit_log WHERE seq > 8", 9, "REMOVED"),
    ("DELETE FROM audit_log", 1, "REMOVED"),
    (
        "INSERT INTO audit_log (seq, id, at, actor, action, outcome, count, prev_hash, hash)
         SELECT 11, 'forged', at, actor, action, outcome, count, hash, hash FROM audit_log WHERE seq = 10",
        11,
        "INSERTED",
    ),
    (
        "UPDATE audit_log SET seq = -seq WHERE seq > 3;
         UPDATE audit_log SET seq = 1 - seq WHERE seq < 0;
         UPDATE audit_head SET seq = 11;
         INSERT INTO audit_log (seq, id, at, actor, action, outcome, count, prev_hash, hash)
         SELECT 4, 'forged', at, actor, action, outcome, count, hash, hash FROM audit_log WHERE seq = 3",
        4,
        "ALTERED",
    ),
    // The head is set back with the rows, so that only the anchor shows it.
    (
        "DELETE FROM audit_log WHERE seq > 5;
         UPDATE audit_head SET seq = 5, hash = (SELECT hash FROM audit_log WHERE seq = 5)",
        6,
        "REMOVED",
    ),
];

fn event(number: i64) -> AuditEvent {
    AuditEvent {
        id: number.to_string(),
        at: Timestamp(1_800_000_000_000_000 + number),
        actor: "ada".to_owned(),
        credential: Some("gck_1".to_owned()),
        source: Some("192.0.2.7".to_owned()),
        action: "workflow.cancel".to_owned(),
        namespace: Some("default".to_owned()),
        target_kind: Some("workflow".to_owned()),
        target_name: Some(format!("w-{number}")),
        outcome: "REFUSED".to_owned(),
        code: Some("GC2060".to_owned()),
        count: 1,
        before: None,
        after: Some("{}".to_owned()),
        trace_id: None,
    }
}

async fn filled(store: &dyn AuditStore) -> AuditHead {
    let events: Vec<AuditEvent> = (1..=10).map(event).collect();
    store.append_audit(&events).await.expect("the events are appended")
}

async fn problems(store: &dyn AuditStore, anchor: AuditHead) -> Vec<(u64, &'static str)> {
    let request = AuditRequest { limit: 100, ..AuditRequest::default() };
    let mut verifier = AuditVerifier::new(Some(anchor));
    for record in store.audit_records(&request).await.expect("the records can be read") {
        verifier.check(&record);
    }
    let head = store.audit_head().await.expect("the head can be read");
    let report = verifier.finish(&head);
    report.problems.iter().map(|problem| (problem.seq, problem.kind.as_str())).collect()
}

/// Checks that the first problem is at a record, and that the record has a problem of a kind.
fn check_problems(problems: &[(u64, &'static str)], seq: u64, kind: &'static str, sql: &str) {
    assert_eq!(problems.first().map(|(seq, _)| *seq), Some(seq), "{sql}: {problems:?}");
    assert!(problems.contains(&(seq, kind)), "{sql}: {problems:?}");
}

#[tokio::test]
async fn change_by_sql_is_found_in_sqlite() {
    for (sql, seq, kind) in CHANGES {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let path = folder.path().join("goconductor.db");
        let store = SqliteStore::open(&path).expect("the file can be created");
        let anchor = filled(&store).await;
        assert_eq!(problems(&store, anchor.clone()).await, []);
        let connection = rusqlite::Connection::open(&path).expect("the file can be opened");
        connection.execute_batch(sql).expect("the SQL succeeds");
        check_problems(&problems(&store, anchor).await, *seq, kind, sql);
    }
}

#[tokio::test]
async fn change_by_sql_is_found_in_postgresql() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 4).await.expect("the new database can be opened");
        for (sql, seq, kind) in CHANGES {
            let anchor = filled(&store).await;
            assert_eq!(problems(&store, anchor.clone()).await, []);
            execute(&database.url, sql).await;
            check_problems(&problems(&store, anchor).await, *seq, kind, sql);
            let reset = "DELETE FROM audit_log; UPDATE audit_head SET seq = 0, hash = repeat('0', 64)";
            execute(&database.url, reset).await;
        }
    })
    .await;
}
