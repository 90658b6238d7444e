//! A process that is killed while it writes: what it was told is written is there, and whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use goconductor_saga::{Input, Plan, WorkflowId};
use goconductor_store::conformance::check_consistency;
use goconductor_store::conformance::flow::{
    Flow, StartOptions, at, compensated, done_with, keyed, order, refused,
};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{Store, Write, WriteOutcome};

/// Where the child writes; without it, it is no child.
const FILE: &str = "GOCONDUCTOR_TEST_KILLED_FILE";
/// Writers in the child, so that groups have more than one member.
const WRITERS: u32 = 6;
/// The child is killed after so many answers, in the middle of those that follow.
const ANSWERS: [usize; 4] = [1, 97, 250, 600];

fn plan() -> Arc<Plan> {
    order().expect("a graph that can run")
}

/// The child: writes workflows from start to end, and says what it was told, until it is killed.
#[test]
fn child_that_is_killed() {
    let Ok(file) = std::env::var(FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(Path::new(&file)).expect("the file"));
        let writers: Vec<_> =
            (0..WRITERS).map(|_| tokio::spawn(write_for_ever(Arc::clone(&store)))).collect();
        for writer in writers {
            writer.await.expect("it never ends");
        }
    });
}

async fn write_for_ever(store: Arc<dyn Store>) {
    let payload = serde_json::json!({"text": "x".repeat(3_000)});
    let courses: [Vec<Input>; 2] = [
        vec![done_with(0, payload.clone()), done_with(1, payload.clone()), done_with(2, payload.clone())],
        vec![
            done_with(0, payload.clone()),
            done_with(1, payload),
            refused(2),
            compensated(1),
            compensated(0),
        ],
    ];
    for course in courses.iter().cycle() {
        // Ids of one child are not those of the next.
        let id = WorkflowId(uuid::Uuid::now_v7());
        let (mut flow, start) =
            Flow::start(&plan(), StartOptions { id: Some(id), ..StartOptions::default() }).unwrap();
        acknowledged(&store, keyed(start, &id.to_string(), "digest"), &flow).await;
        for input in course {
            let (next, write) = flow.next(input, at(1)).expect("a course that can happen");
            flow = next;
            acknowledged(&store, Write::Transition(write), &flow).await;
        }
    }
}

async fn acknowledged(store: &Arc<dyn Store>, write: Write, flow: &Flow) {
    let outcomes = store.write(vec![write]).await.expect("the file can be written");
    assert!(matches!(outcomes.as_slice(), [WriteOutcome::Written]), "{outcomes:?}");
    // In one call, so that a line is never cut short by another writer's.
    let line = format!("wrote {} {}\n", flow.state.id, flow.state.seq);
    std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody reads");
}

/// Starts a child and kills it after so many answers; the `seq` that each workflow is known to have.
fn killed(file: &Path, answers: usize) -> BTreeMap<WorkflowId, u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "killed::child_that_is_killed", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut known = BTreeMap::new();
    let (mut lines, mut count) = (BufReader::new(child.stdout.take().expect("piped")), 0);
    loop {
        let mut line = String::new();
        let read = lines.read_line(&mut line).expect("text");
        // What was cut short by the kill was not said.
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((id, seq)) = line.split("wrote ").nth(1).and_then(|rest| rest.trim_end().split_once(' '))
        else {
            continue;
        };
        let seq: u64 = seq.parse().expect("a number");
        let newest: &mut u64 = known.entry(id.parse().expect("an id")).or_default();
        *newest = seq.max(*newest);
        count += 1;
        if count == answers {
            // SIGKILL: nothing of it runs any more, not even a destructor.
            child.kill().expect("it runs");
        }
    }
    let status = child.wait().expect("it has ended");
    assert!(!status.success() && count >= answers, "it ended by itself after {count} answers: {status}");
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_the_process() {
    let folder = tempfile::tempdir().expect("room for a folder");
    let file = folder.path().join("goconductor.db");
    let mut known = BTreeMap::new();
    for answers in ANSWERS {
        known.extend(killed(&file, answers));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file).expect("what a killed process leaves"));
        let ids = store.ids(None, u32::MAX).await.expect("a read");
        assert!(store.orphans(10).await.expect("a read").is_empty());
        for id in &ids {
            let loaded = store.load(&[*id]).await.expect("a read").remove(0).expect("a workflow");
            let events = store.history(*id, 0, u32::MAX).await.expect("a read");
            let flow = Flow { plan: plan(), state: loaded.state, events };
            check_consistency(&store, &flow)
                .await
                .unwrap_or_else(|found| panic!("{id} after {answers} answers: {found}"));
            assert_eq!(loaded.idempotency_key, Some(id.to_string()));
        }
        for (id, seq) in &known {
            let seen = store.heads(&[*id]).await.expect("a read");
            assert!(seen.iter().any(|seen| seen.seq >= *seq), "{id} was written up to {seq}: {seen:?}");
        }
        assert!(ids.len() >= known.len());
    }
    assert!(known.len() > 100, "only {} workflows were written", known.len());
}
