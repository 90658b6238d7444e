//! A process that is killed while it writes. Every acknowledged write is present and consistent afterwards.

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

/// The variable with the file that the child process writes. It is not set in the parent process.
const FILE: &str = "GOCONDUCTOR_TEST_KILLED_FILE";
/// Number of writers in the child. Several writers produce batches with several entries.
const WRITERS: u32 = 6;
/// Numbers of acknowledged writes after which the child is killed. Further writes are in flight at that time.
const ACKNOWLEDGED_WRITES: [usize; 4] = [1, 97, 250, 600];

fn plan() -> Arc<Plan> {
    order().expect("the definition is a valid graph")
}

/// The child process. Writes workflows from start to end and prints each acknowledged write until it is killed.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(file) = std::env::var(FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    runtime.block_on(async {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(Path::new(&file)).expect("the file can be opened"));
        let writers: Vec<_> =
            (0..WRITERS).map(|_| tokio::spawn(write_until_killed(Arc::clone(&store)))).collect();
        for writer in writers {
            writer.await.expect("the writer does not panic");
        }
    });
}

async fn write_until_killed(store: Arc<dyn Store>) {
    let payload = serde_json::json!({"text": "x".repeat(3_000)});
    let scenarios: [Vec<Input>; 2] = [
        vec![done_with(0, payload.clone()), done_with(1, payload.clone()), done_with(2, payload.clone())],
        vec![
            done_with(0, payload.clone()),
            done_with(1, payload),
            refused(2),
            compensated(1),
            compensated(0),
        ],
    ];
    for inputs in scenarios.iter().cycle() {
        // Random ids, because each child writes to the same file.
        let id = WorkflowId(uuid::Uuid::now_v7());
        let (mut flow, start) =
            Flow::start(&plan(), StartOptions { id: Some(id), ..StartOptions::default() }).unwrap();
        write_and_print(&store, keyed(start, &id.to_string(), "digest"), &flow).await;
        for input in inputs {
            let (next, write) = flow.next(input, at(1)).expect("the rules accept the input");
            flow = next;
            write_and_print(&store, Write::Transition(write), &flow).await;
        }
    }
}

async fn write_and_print(store: &Arc<dyn Store>, write: Write, flow: &Flow) {
    let outcomes = store.write(vec![write]).await.expect("the write succeeds");
    assert!(matches!(outcomes.as_slice(), [WriteOutcome::Written]), "{outcomes:?}");
    // A single call per line, so that the lines of several writers do not interleave.
    let line = format!("wrote {} {}\n", flow.state.id, flow.state.seq);
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads the output");
}

/// Starts a child and kills it after a number of acknowledged writes. Returns the acknowledged `seq` of each workflow.
fn run_and_kill_child(file: &Path, writes: usize) -> BTreeMap<WorkflowId, u64> {
    let mut child = Command::new(std::env::current_exe().expect("the path of the test binary is known"))
        .args(["--exact", "killed::child_writes_until_it_is_killed", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut known = BTreeMap::new();
    let (mut lines, mut count) = (BufReader::new(child.stdout.take().expect("the output is piped")), 0);
    loop {
        let mut line = String::new();
        let read = lines.read_line(&mut line).expect("the output is UTF-8");
        // A line that the kill cut off does not count.
        if read == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((id, seq)) = line.split("wrote ").nth(1).and_then(|rest| rest.trim_end().split_once(' '))
        else {
            continue;
        };
        let seq: u64 = seq.parse().expect("the seq is a number");
        let newest: &mut u64 = known.entry(id.parse().expect("the id is valid")).or_default();
        *newest = seq.max(*newest);
        count += 1;
        if count == writes {
            // SIGKILL: not even a destructor runs.
            child.kill().expect("the child is running");
        }
    }
    let status = child.wait().expect("the child has exited");
    assert!(
        !status.success() && count >= writes,
        "the child exited after {count} writes without being killed: {status}"
    );
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_write_survives_killed_process() {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let file = folder.path().join("goconductor.db");
    let mut known = BTreeMap::new();
    for writes in ACKNOWLEDGED_WRITES {
        known.extend(run_and_kill_child(&file, writes));
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&file).expect("the file of a killed process can be opened"));
        let ids = store.ids(None, u32::MAX).await.expect("the read succeeds");
        assert!(store.orphans(10).await.expect("the read succeeds").is_empty());
        for id in &ids {
            let loaded =
                store.load(&[*id]).await.expect("the read succeeds").remove(0).expect("the workflow exists");
            let events = store.history(*id, 0, u32::MAX).await.expect("the read succeeds");
            let flow = Flow { plan: plan(), state: loaded.state, events };
            check_consistency(&store, &flow)
                .await
                .unwrap_or_else(|found| panic!("{id} after {writes} writes: {found}"));
            assert_eq!(loaded.idempotency_key, Some(id.to_string()));
        }
        for (id, seq) in &known {
            let heads = store.heads(&[*id]).await.expect("the read succeeds");
            assert!(
                heads.iter().any(|head| head.seq >= *seq),
                "{id} was acknowledged up to {seq}: {heads:?}"
            );
        }
        assert!(ids.len() >= known.len());
    }
    assert!(known.len() > 100, "only {} workflows were written", known.len());
}
