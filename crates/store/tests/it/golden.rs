//! Data of earlier releases stays readable. Each version of the tables has a dump, which never changes after the release
//! of that version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{
    Failure, Input, Kind, Outcome, OwedKey, Plan, Side, Status, StepIndex, TimerKind, Timestamp, WorkflowId,
    evolve,
};
use goconductor_store::conformance::check_consistency;
use goconductor_store::conformance::flow::{
    Flow, NAMESPACE, REDELIVERY, StartOptions, at, cancel, command, compensated, definition, done, done_with,
    failed, keyed, order, pause, publishing, refused, report, resume, step, unkeyed,
};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    ClaimRequest, Fence, Field, LaneClaim, ListRequest, MaintenanceRequest, NewDefinition, RowKind,
    ServiceRecord, ServiceSettings, Store, Write, WriteOutcome,
};
use serde_json::json;

use super::postgres::{Database, execute};

/// All event types in the histories of the first version.
const KINDS: [&str; 22] = [
    "ATTEMPT_FAILED",
    "ATTEMPT_STARTED",
    "COMPENSATION_FAILED",
    "COMPENSATION_QUEUED",
    "COMPENSATION_SKIPPED",
    "ROLLBACK_REFUSED",
    "ROLLBACK_REQUESTED",
    "ROLLBACK_STARTED",
    "STEP_COMPENSATED",
    "STEP_COMPLETED",
    "STEP_FAILED",
    "STEP_QUEUED",
    "STEP_RETRIED",
    "STEP_SKIPPED",
    "STEP_UNKNOWN",
    "STEP_WITHDRAWN",
    "WORKFLOW_COMPLETED",
    "WORKFLOW_PAUSED",
    "WORKFLOW_RESUMED",
    "WORKFLOW_ROLLED_BACK",
    "WORKFLOW_STARTED",
    "WORKFLOW_TERMINATED",
];

/// The statuses of the workflows of the first version, by the number in their id.
const STATUSES: [(u8, Status); 9] = [
    (1, Status::Completed),
    (2, Status::RolledBack),
    (3, Status::Paused),
    (4, Status::RollingBack),
    (5, Status::InProgress),
    (6, Status::Terminated),
    (7, Status::Completed),
    (8, Status::RolledBack),
    (9, Status::RollingBack),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn id(number: u8) -> WorkflowId {
    WorkflowId(uuid::Uuid::from_u128(0x0199_c000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

fn actor() -> Option<String> {
    Some("ops".to_owned())
}

fn unknown(step: u32, side: Side, attempt: u32) -> Input {
    let failure =
        Failure { code: "TIMED_OUT".to_owned(), message: "no answer".to_owned(), detail: Some(json!([1])) };
    report(step, side, attempt, Outcome::Unknown { failure, not_before: None, answered: false })
}

/// Returns a definition with timeouts, a pivot, a retriable step and a limited number of compensation attempts.
fn full() -> goconductor_saga::Definition {
    let mut steps = vec![
        step("reserve", "stock", &[]),
        step("charge", "payments", &[0]),
        step("ship", "shipping", &[1]),
        step("tell", "mail", &[2]),
    ];
    steps[0].compensate.as_mut().expect("the step has a compensation").retry.max_attempts = Some(1);
    steps[0].retry.max_attempts = Some(2);
    steps[1].timeout.queue = Some(Duration::from_secs(20));
    steps[1].timeout.total = Some(Duration::from_secs(60));
    (steps[2].kind, steps[2].compensate) = (Kind::Pivot, None);
    (steps[3].kind, steps[3].compensate) = (Kind::Retriable, None);
    let mut full = definition("full", steps);
    full.timeout = Some(Duration::from_secs(600));
    full.labels.insert("it's".to_owned(), "100% \"ünï\"".to_owned());
    full
}

/// Returns the number, the definition and the inputs of each workflow.
fn scenarios() -> Vec<(u8, &'static str, Vec<Input>)> {
    let operator = |step: u32| (StepIndex(step), actor(), "by hand".to_owned());
    let (step, by, reason) = operator(0);
    let retry = Input::RetryStep { step, actor: by, reason: Some(reason) };
    let (step, by, reason) = operator(0);
    let skip_compensation = Input::SkipStep { step, actor: by, reason };
    let (step, by, reason) = operator(1);
    let skip = Input::SkipStep { step, actor: by, reason };
    let started = Input::StartAttempt {
        step: StepIndex(0),
        side: Side::Execute,
        attempt: 1,
        started_at: at(1),
        deadline: at(31),
        executor: "one".to_owned(),
        sent: true,
        trace: None,
    };
    let terminate = Input::Terminate { actor: actor(), reason: "enough".to_owned() };
    let withdraw = Input::WithdrawCommand { step: StepIndex(2), attempt: 1 };
    let failure = Failure::of("NO", "can't be undone");
    let compensation_refused =
        |attempt| report(0, Side::Compensate, attempt, Outcome::Refused { failure: failure.clone() });
    vec![
        (
            1,
            "order",
            vec![
                failed(0, 1),
                report(0, Side::Execute, 2, Outcome::Done { output: json!(0.1) }),
                done(1),
                done(2),
            ],
        ),
        (2, "order", vec![done(0), done(1), refused(2), compensated(1), compensated(0)]),
        (3, "order", vec![done(0), pause()]),
        (4, "order", vec![done(0), cancel()]),
        (5, "full", vec![started]),
        (6, "full", vec![done(0), pause(), resume(), terminate]),
        (7, "full", vec![done(0), done(1), cancel(), done(2), done_with(3, json!({"big": u64::MAX}))]),
        (
            8,
            "full",
            vec![
                unknown(0, Side::Execute, 1),
                unknown(0, Side::Execute, 2),
                compensation_refused(1),
                retry,
                compensation_refused(2),
                skip_compensation,
            ],
        ),
        (9, "full", vec![done(0), failed(1, 1), skip, cancel(), withdraw]),
    ]
}

async fn write(store: &Arc<dyn Store>, write: Write) {
    let outcomes = store.write(vec![write]).await.expect("the write succeeds");
    assert!(matches!(outcomes.as_slice(), [WriteOutcome::Written]), "{outcomes:?}");
}

async fn fill(store: &Arc<dyn Store>) {
    let definitions =
        [("order", order().expect("the definition is a valid graph").definition().clone()), ("full", full())];
    for (name, definition) in &definitions {
        let new = NewDefinition {
            namespace: NAMESPACE.to_owned(),
            definition: definition.clone(),
            digest: format!("digest of {name}"),
            source: format!("name: {name} # it's ünï\n"),
            source_format: "yaml".to_owned(),
            actor: actor(),
        };
        store.put_definition(new).await.expect("the write succeeds");
    }
    for (number, name, inputs) in scenarios() {
        let (_, definition) =
            definitions.iter().find(|(known, _)| known == &name).expect("the definition is in the list");
        let plan = Arc::new(Plan::new(definition.clone(), 1).expect("the definition is a valid graph"));
        let input = json!({"number": number, "text": "it's ünï 🏳️‍🌈", "float": 1e-7, "nul": "\0"});
        let (mut flow, start) =
            Flow::start(&plan, StartOptions { id: Some(id(number)), input, ..StartOptions::default() })
                .unwrap();
        let start = if number == 9 { publishing(start) } else { start };
        let key = format!("key {number}");
        write(store, if number % 2 == 1 { keyed(start, &key, "digest") } else { unkeyed(start) }).await;
        for (second, input) in (1..).zip(inputs) {
            let (next, transition) = flow
                .next(&input, at(second))
                .unwrap_or_else(|why| panic!("workflow {number}, {input:?}: {why}"));
            write(store, Write::Transition(transition)).await;
            flow = next;
        }
    }
    let settings = ServiceSettings::http("http://127.0.0.1:1");
    let service = ServiceRecord {
        namespace: NAMESPACE.to_owned(),
        name: "stock".to_owned(),
        settings,
        updated_at: at(3),
    };
    store.put_service(service).await.expect("the write succeeds");
    for _ in 0..3 {
        store.raise_epoch("duties").await.expect("the write succeeds");
    }
    store.claim(&claim(5, at(40))).await.expect("the write succeeds");
}

/// Returns a request for the compensations of `payments`, with a fencing token.
fn claim(token: u64, now: Timestamp) -> ClaimRequest {
    ClaimRequest {
        shard: None,
        fence: Some(Fence { name: "duties".to_owned(), token }),
        now,
        lanes: vec![LaneClaim {
            namespace: NAMESPACE.to_owned(),
            service: "payments".to_owned(),
            side: Side::Compensate,
            waiting_since: None,
            limit: 10,
        }],
        timers: false,
        limit: 10,
        redelivery: REDELIVERY,
    }
}

/// Dumps the tables and rows of a file as SQL.
fn dump(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).expect("the file can be opened");
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("the version is a number");
    let mut sql = format!("PRAGMA user_version = {version};\n");
    let texts = |query: &str| -> Vec<String> {
        let mut statement = connection.prepare(query).expect("the SQL is valid");
        let rows = statement.query_map([], |row| row.get(0)).expect("the query succeeds");
        rows.collect::<Result<_, _>>().expect("the columns are texts")
    };
    for table in
        texts("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger' ORDER BY rowid")
    {
        sql += &format!("{table};\n");
    }
    for table in texts("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
        let columns = texts(&format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')"));
        let rows = format!("SELECT {} FROM {table}", columns.join(" || ', ' || "));
        for row in texts(&rows) {
            sql += &format!("INSERT INTO {table} VALUES ({row});\n");
        }
    }
    // After the rows, which contain what the triggers wrote.
    for trigger in texts("SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid") {
        sql += &format!("{trigger};\n");
    }
    sql
}

/// Returns the dump of the first version of the tables. It never changes. A later version has its own dump, which
/// `GOCONDUCTOR_TEST_GOLDEN=write` creates if it is missing.
async fn first_dump() -> String {
    let path = golden("0001.sql");
    if !path.exists() && std::env::var("GOCONDUCTOR_TEST_GOLDEN").is_ok_and(|value| value == "write") {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let file = folder.path().join("goconductor.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file).expect("the file can be created"));
        fill(&store).await;
        drop(store);
        std::fs::write(&path, dump(&file)).expect("the directory is writable");
    }
    std::fs::read_to_string(path).expect("the dump is in the repository")
}

fn restore(folder: &Path, dump: &str) -> Arc<dyn Store> {
    let path = folder.join("goconductor.db");
    let connection = rusqlite::Connection::open(&path).expect("the file can be created");
    connection.execute_batch(dump).expect("the SQL is valid");
    drop(connection);
    Arc::new(SqliteStore::open(&path).expect("the file of an earlier release can be opened"))
}

/// Restores the same rows in PostgreSQL, with the tables of that release.
async fn restore_on_postgres(url: &str, dump: &str) -> Arc<dyn Store> {
    let (_, rows) = dump.split_once("\nINSERT INTO ").expect("the dump contains rows");
    // SQLite stores an id as a blob, PostgreSQL as a UUID.
    let rows = format!("INSERT INTO {}", rows.replace("X'0199", "'0199"));
    let tables = include_str!("../../../../migrations/postgres/0001_first.sql");
    let version =
        "CREATE TABLE schema_version (version BIGINT NOT NULL); INSERT INTO schema_version VALUES (1)";
    execute(url, &format!("{tables}; {version}; {rows}")).await;
    Arc::new(PostgresStore::connect(url, 4).await.expect("the database of an earlier release can be opened"))
}

#[tokio::test]
async fn sqlite_file_of_first_version_is_readable() {
    let sql = first_dump().await;
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    assert_readable(&restore(folder.path(), &sql)).await;
}

#[tokio::test]
async fn postgres_database_of_first_version_is_readable_and_maintained() {
    Database::with("", |database| async move {
        let store = restore_on_postgres(&database.url, &first_dump().await).await;
        assert_readable(&store).await;
        // The migrated database stays in use: new workflows are written, and old ones are removed by maintenance.
        let order = order().expect("the definition is a valid graph");
        let (flow, start) = Flow::start(&order, StartOptions::default()).unwrap();
        write(&store, unkeyed(start)).await;
        check_consistency(&store, &flow).await.expect("the workflow is consistent");
        let request = MaintenanceRequest { now: at(3600), retention: Some(Duration::from_secs(60)).into() };
        assert_eq!(store.maintain(&request).await.expect("the maintenance succeeds").removed, 5);
        assert_eq!(store.ids(None, 100).await.expect("the read succeeds").len(), 5);
        let counts = store.counts(NAMESPACE, Field::Version, None).await.expect("the read succeeds");
        assert_eq!(counts.iter().map(|count| count.count).collect::<Vec<_>>(), [5]);
    })
    .await;
}

async fn assert_readable(store: &Arc<dyn Store>) {
    let mut kinds = BTreeSet::new();
    assert_eq!(
        store.ids(None, 100).await.expect("the read succeeds"),
        STATUSES.map(|(number, _)| id(number))
    );
    for (number, status) in STATUSES {
        let loaded = store
            .load(&[id(number)])
            .await
            .expect("the read succeeds")
            .remove(0)
            .expect("the workflow exists");
        assert_eq!(loaded.state.status(), status, "workflow {number}");
        let expected = json!({"number": number, "text": "it's ünï 🏳️‍🌈", "float": 1e-7, "nul": "\0"});
        assert_eq!(*loaded.state.input, expected);
        assert_eq!(loaded.idempotency_key, (number % 2 == 1).then(|| format!("key {number}")));
        let name = &loaded.state.definition;
        let record =
            store.definition(NAMESPACE, name, Some(loaded.state.version)).await.expect("the read succeeds");
        let record = record.expect("the definition of the workflow exists");
        assert_eq!(record.source, format!("name: {name} # it's ünï\n"));
        let plan =
            Arc::new(Plan::new(record.definition, record.version).expect("the definition is a valid graph"));
        let events = store.history(id(number), 0, 1000).await.expect("the read succeeds");
        for event in &events {
            let line = serde_json::to_value(event).expect("the event is valid JSON");
            kinds.insert(line["type"].as_str().expect("the event has a type").to_owned());
        }
        assert!(events.iter().fold(None, evolve).is_some());
        let flow = Flow { plan, state: loaded.state, events };
        check_consistency(store, &flow).await.unwrap_or_else(|found| panic!("workflow {number}: {found}"));
    }
    assert_eq!(kinds, KINDS.map(str::to_owned).into());
    // The counts match the statuses.
    let counts = store.counts(NAMESPACE, Field::Status, None).await.expect("the read succeeds");
    for count in &counts {
        let expected = STATUSES.iter().filter(|(_, status)| status.as_str() == count.value).count();
        assert_eq!(usize::try_from(count.count), Ok(expected), "{}", count.value);
    }
    assert_eq!(counts.len(), 6);
}

#[tokio::test]
async fn sqlite_file_of_first_version_stays_usable() {
    let sql = first_dump().await;
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let store = restore(folder.path(), &sql);
    assert_eq!(store.raise_epoch("duties").await.expect("the write succeeds"), 4);
    let fenced = store.claim(&claim(4, at(1_000))).await.expect_err("token 5 is newer").to_string();
    assert_eq!(fenced, "fencing token 4 of duties was replaced by 5");
    let again = store.claim(&claim(5, at(1_000))).await.expect("the claim succeeds").rows;
    let shown: Vec<_> = again.iter().map(|row| (row.key.id, row.kind, row.deliveries)).collect();
    assert_eq!(shown, [(id(9), RowKind::Run, 1)]);
    let held = store.ledger(&[id(3)]).await.expect("the read succeeds");
    assert_eq!(held.iter().map(|row| row.kind).collect::<Vec<_>>(), [RowKind::Held]);
    let withdrawn = store.ledger(&[id(4)]).await.expect("the read succeeds");
    assert_eq!(withdrawn.iter().map(|row| row.kind).collect::<Vec<_>>(), [RowKind::Withdraw]);
    let timers = store.ledger(&[id(5)]).await.expect("the read succeeds");
    let keys: Vec<OwedKey> = timers.iter().map(|row| row.key.key).collect();
    assert_eq!(keys, [command(0, Side::Execute), OwedKey::Timer(TimerKind::Workflow)]);
    let services = store.services().await.expect("the read succeeds");
    assert_eq!(services.len(), 1);
    assert_eq!(services[0].settings, ServiceSettings::http("http://127.0.0.1:1"));
    let request = ListRequest { namespace: NAMESPACE.to_owned(), filter: None, limit: 100, before: None };
    let listed = store.list(&request).await.expect("the read succeeds").workflows;
    assert_eq!(
        listed.iter().map(|each| each.id).collect::<Vec<_>>(),
        STATUSES.map(|(number, _)| id(10 - number))
    );
    assert_eq!(listed[0].labels["it's"], "100% \"ünï\"");
    // A start of the first version is recognized as a duplicate.
    let plan = order().expect("the definition is a valid graph");
    let (_, start) = Flow::start(&plan, StartOptions::default()).unwrap();
    let outcome =
        store.write(vec![keyed(start, "key 3", "digest")]).await.expect("the write succeeds").remove(0);
    assert!(matches!(&outcome, WriteOutcome::Replayed(present) if present.state.id == id(3)), "{outcome:?}");
    // A workflow of the first version continues to its end.
    let state =
        store.load(&[id(3)]).await.expect("the read succeeds").remove(0).expect("the workflow exists").state;
    let events = store.history(id(3), 0, 1000).await.expect("the read succeeds");
    let mut flow = Flow { plan, state, events };
    for input in [resume(), done(1), done(2)] {
        let (next, transition) = flow.next(&input, at(100)).expect("the rules accept the input");
        write(&store, Write::Transition(transition)).await;
        flow = next;
    }
    check_consistency(&store, &flow).await.expect("the workflow is consistent");
    assert_eq!(flow.state.status(), Status::Completed);
}
