//! Batches form while earlier batches are in flight, and each caller gets its own result.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::check_consistency;
use goconductor_store::conformance::flow::{Flow, StartOptions, at, cancel, done, order, unkeyed};
use goconductor_store::{Error, Store, Write, WriteOutcome};
use tokio::task::JoinHandle;

use crate::instrumented::InstrumentedStore;

type WriteResult = Result<Vec<WriteOutcome>, Error>;

/// Creates a batching store and its backend.
fn over(limits: Limits) -> (Arc<InstrumentedStore>, Arc<dyn Store>) {
    let backend = InstrumentedStore::new();
    let store = BatchingStore::new(Arc::clone(&backend) as _, limits);
    (backend, Arc::new(store))
}

fn started() -> (Flow, Write) {
    let (flow, start) = Flow::start(&order().expect("a graph"), StartOptions::default()).unwrap();
    (flow, unkeyed(start))
}

fn next(flow: &Flow, input: &goconductor_saga::Input) -> (Flow, Write) {
    let (next, write) = flow.next(input, at(1)).expect("the input is valid");
    (next, Write::Transition(write))
}

/// Spawns a caller.
fn call(store: &Arc<dyn Store>, writes: Vec<Write>) -> JoinHandle<WriteResult> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.write(writes).await })
}

fn words(result: &WriteResult) -> Vec<&'static str> {
    let word = |outcome: &WriteOutcome| match outcome {
        WriteOutcome::Written => "written",
        WriteOutcome::Replayed(_) => "replayed",
        WriteOutcome::KeyConflict(_) => "conflict",
        WriteOutcome::Lost(_) => "lost",
        WriteOutcome::Missing => "missing",
    };
    result.as_ref().expect("a result").iter().map(word).collect()
}

/// Blocks one batch before it is written, so that further requests are queued for the next batch.
async fn blocked(backend: &InstrumentedStore, store: &Arc<dyn Store>) -> JoinHandle<WriteResult> {
    backend.before.block_next();
    let first = call(store, vec![started().1]);
    backend.before.arrived().await;
    first
}

/// Lets all other tasks run until they wait. The runtime of a test has one thread and schedules tasks fairly.
async fn yield_to_all() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn single_write_is_sent_at_once() {
    let (backend, store) = over(Limits::default());
    let start_time = tokio::time::Instant::now();
    for _ in 0..3 {
        let (flow, start) = started();
        store.write(vec![start]).await.expect("a result");
        check_consistency(&store, &flow).await.expect("whole");
    }
    // The paused clock advances only while all tasks wait for it.
    assert_eq!(start_time.elapsed(), Duration::ZERO);
    assert_eq!(backend.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn writes_during_a_batch_become_one_batch() {
    let (backend, store) = over(Limits::default());
    let first = blocked(&backend, &store).await;
    let (flows, starts): (Vec<Flow>, Vec<Write>) = (0..200).map(|_| started()).unzip();
    let callers: Vec<_> = starts.into_iter().map(|start| call(&store, vec![start])).collect();
    yield_to_all().await;
    backend.before.release();
    assert_eq!(words(&first.await.expect("no panic")), ["written"]);
    for caller in callers {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    assert_eq!(backend.sizes(), [1, 200]);
    for flow in flows.iter().step_by(31) {
        check_consistency(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn batch_size_is_limited_and_a_request_is_not_split() {
    let (backend, store) = over(Limits { batch_size: 50, ..Limits::default() });
    let first = blocked(&backend, &store).await;
    let singles: Vec<_> = (0..120).map(|_| call(&store, vec![started().1])).collect();
    let many = call(&store, (0..70).map(|_| started().1).collect());
    yield_to_all().await;
    backend.before.release();
    first.await.expect("no panic").expect("a result");
    for caller in singles {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    assert_eq!(words(&many.await.expect("no panic")), ["written"; 70]);
    assert_eq!(backend.sizes(), [1, 50, 50, 90]);
}

#[tokio::test]
async fn full_queue_delays_callers_and_loses_no_write() {
    let (backend, store) = over(Limits { queue_depth: 3, ..Limits::default() });
    let first = blocked(&backend, &store).await;
    let callers: Vec<_> = (0..20).map(|_| call(&store, vec![started().1])).collect();
    yield_to_all().await;
    assert_eq!(backend.sizes(), [1]);
    backend.before.release();
    first.await.expect("no panic").expect("a result");
    for caller in callers {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    let sizes = backend.sizes();
    assert_eq!(sizes.iter().sum::<usize>(), 21);
    // The second batch contains the three queued requests, and at most one more for each that left the queue.
    assert!(sizes[1] >= 3, "{sizes:?}");
}

#[tokio::test]
async fn conflict_does_not_affect_other_writes() {
    let (backend, store) = over(Limits::default());
    let (flow, start) = started();
    store.write(vec![start]).await.expect("a result");
    let first = blocked(&backend, &store).await;
    let (winner, won) = next(&flow, &done(0));
    let (_, late) = next(&flow, &cancel());
    let (after, chained) = next(&winner, &done(1));
    let (missing, _) = started();
    let (_, nowhere) = next(&missing, &done(0));
    let (unrelated, other) = started();
    let callers =
        [vec![won], vec![late, nowhere], vec![other, chained], Vec::new()].map(|writes| call(&store, writes));
    yield_to_all().await;
    backend.before.release();
    first.await.expect("no panic").expect("a result");
    let mut found = Vec::new();
    for caller in callers {
        found.push(words(&caller.await.expect("no panic")));
    }
    assert_eq!(found, [vec!["written"], vec!["lost", "missing"], vec!["written", "written"], vec![]]);
    assert_eq!(backend.sizes(), [1, 1, 5]);
    for flow in [&after, &unrelated] {
        check_consistency(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn cancelled_caller_does_not_cancel_its_batch() {
    let (backend, store) = over(Limits::default());
    let first = blocked(&backend, &store).await;
    let (first_flow, start) = started();
    let cancelled = call(&store, vec![start]);
    let (second_flow, start) = started();
    let waiting = call(&store, vec![start]);
    yield_to_all().await;
    cancelled.abort();
    first.abort();
    assert!(cancelled.await.expect_err("the task was aborted").is_cancelled());
    backend.before.release();
    assert_eq!(words(&waiting.await.expect("no panic")), ["written"]);
    assert_eq!(backend.sizes(), [1, 2]);
    for flow in [&first_flow, &second_flow] {
        check_consistency(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn error_of_a_batch_reaches_every_caller() {
    let errors: [fn() -> Error; 6] = [
        || Error::unavailable("connection refused"),
        || Error::outcome_unknown("cut"),
        || Error::Fenced { name: "duties".to_owned(), token: 4, newest: 5 },
        || Error::Schema { reason: "newer".to_owned() },
        || Error::corrupt("a state", "odd"),
        || Error::configuration("wrong"),
    ];
    for error in errors {
        let (backend, store) = over(Limits::default());
        let first = blocked(&backend, &store).await;
        backend.fail_next(&[None, Some(error)]);
        backend.healthy.store(false, Ordering::Relaxed);
        let (flow, start) = started();
        let requests = [vec![start], vec![started().1, started().1], vec![started().1]];
        let callers = requests.map(|writes| call(&store, writes));
        yield_to_all().await;
        backend.before.release();
        first.await.expect("no panic").expect("a result");
        for caller in callers {
            let found = caller.await.expect("no panic").expect_err("the batch failed");
            assert_eq!(format!("{found:?}"), format!("{:?}", error()));
        }
        assert_eq!(backend.sizes(), [1, 4]);
        assert!(store.load(&[flow.state.id]).await.expect("a read")[0].is_none());
        // The next batch is not affected.
        assert_eq!(words(&store.write(vec![started().1]).await), ["written"]);
    }
}

#[tokio::test]
async fn write_that_fails_does_not_affect_other_writes() {
    let (backend, store) = over(Limits::default());
    let (flow, start) = started();
    store.write(vec![start]).await.expect("a result");
    let (_, Write::Transition(mut impossible)) = next(&flow, &done(0)) else { panic!("not a transition") };
    // The history already has an event with this number.
    Arc::make_mut(&mut impossible.record).events[0].0 = 1;
    let first = blocked(&backend, &store).await;
    let ((left, before), (right, behind)) = (started(), started());
    let requests = [vec![before], vec![started().1, Write::Transition(impossible)], vec![behind]];
    let [before, wrong, behind] = requests.map(|writes| call(&store, writes));
    yield_to_all().await;
    backend.before.release();
    first.await.expect("no panic").expect("a result");
    for caller in [before, behind] {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    let message = wrong.await.expect("no panic").expect_err("the write is invalid").to_string();
    assert!(message.contains("UNIQUE"), "{message}");
    assert_eq!(backend.sizes(), [1, 1, 4, 1, 2, 1]);
    for flow in [&flow, &left, &right] {
        check_consistency(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn batch_with_unknown_outcome_is_not_retried() {
    let (backend, store) = over(Limits::default());
    let first = blocked(&backend, &store).await;
    backend.fail_next(&[None, Some(|| Error::outcome_unknown("cut"))]);
    let callers = [call(&store, vec![started().1]), call(&store, vec![started().1])];
    yield_to_all().await;
    backend.before.release();
    first.await.expect("no panic").expect("a result");
    for caller in callers {
        let found = caller.await.expect("no panic").expect_err("the outcome is unknown");
        assert!(matches!(found, Error::OutcomeUnknown { .. }), "{found}");
    }
    assert_eq!(backend.sizes(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_share_transactions() {
    for max_concurrent_batches in [1, 3] {
        let (backend, store) = over(Limits { max_concurrent_batches, ..Limits::default() });
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                let (mut flow, start) = started();
                store.write(vec![start]).await.expect("a result");
                for step in 0..3 {
                    let (moved, write) = next(&flow, &done(step));
                    assert_eq!(words(&store.write(vec![write]).await), ["written"]);
                    flow = moved;
                }
                flow
            });
        }
        for flow in writers.join_all().await {
            check_consistency(&store, &flow).await.expect("whole");
        }
        let sizes = backend.sizes();
        assert_eq!(sizes.iter().sum::<usize>(), 1200);
        assert!(
            sizes.len() <= 300,
            "{} batches for 1200 writes, {max_concurrent_batches} in flight",
            sizes.len()
        );
    }
}
