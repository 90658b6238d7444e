//! A group forms while the one before it is being written, and each member of it gets its own answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::flow::{Flow, Given, at, cancel, done, order, unkeyed};
use goconductor_store::conformance::whole;
use goconductor_store::{Error, Store, Write, WriteOutcome};
use tokio::task::JoinHandle;

use crate::watched::Watched;

type Answer = Result<Vec<WriteOutcome>, Error>;

/// A state store, and what is behind it.
fn over(limits: Limits) -> (Arc<Watched>, Arc<dyn Store>) {
    let backend = Watched::new();
    let store = BatchingStore::new(Arc::clone(&backend) as _, limits);
    (backend, Arc::new(store))
}

fn started() -> (Flow, Write) {
    let (flow, start) = Flow::start(&order().expect("a graph"), Given::default()).unwrap();
    (flow, unkeyed(start))
}

fn next(flow: &Flow, input: &goconductor_saga::Input) -> (Flow, Write) {
    let (next, write) = flow.next(input, at(1)).expect("it can happen");
    (next, Write::Transition(write))
}

/// A caller of his own.
fn call(store: &Arc<dyn Store>, writes: Vec<Write>) -> JoinHandle<Answer> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.write(writes).await })
}

fn words(answer: &Answer) -> Vec<&'static str> {
    let word = |outcome: &WriteOutcome| match outcome {
        WriteOutcome::Written => "written",
        WriteOutcome::Replayed(_) => "replayed",
        WriteOutcome::KeyConflict(_) => "conflict",
        WriteOutcome::Lost(_) => "lost",
        WriteOutcome::Missing => "missing",
    };
    answer.as_ref().expect("an answer").iter().map(word).collect()
}

/// One group that is held up before it is written, so that what comes now waits for the next.
async fn held_up(backend: &Watched, store: &Arc<dyn Store>) -> JoinHandle<Answer> {
    backend.before.hold_next();
    let first = call(store, vec![started().1]);
    backend.before.arrived().await;
    first
}

/// Lets everybody who can go on do so: a test's runtime has one thread, and turns are fair.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_write_goes_at_once() {
    let (backend, store) = over(Limits::default());
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        let (flow, start) = started();
        store.write(vec![start]).await.expect("an answer");
        whole(&store, &flow).await.expect("whole");
    }
    // The clock stands unless somebody waits for it.
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(backend.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn what_comes_meanwhile_is_one_group() {
    let (backend, store) = over(Limits::default());
    let first = held_up(&backend, &store).await;
    let (flows, starts): (Vec<Flow>, Vec<Write>) = (0..200).map(|_| started()).unzip();
    let callers: Vec<_> = starts.into_iter().map(|start| call(&store, vec![start])).collect();
    settle().await;
    backend.before.let_go();
    assert_eq!(words(&first.await.expect("no panic")), ["written"]);
    for caller in callers {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    assert_eq!(backend.sizes(), [1, 200]);
    for flow in flows.iter().step_by(31) {
        whole(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn a_group_has_a_limit_and_a_caller_is_not_cut_in_two() {
    let (backend, store) = over(Limits { batch_size: 50, ..Limits::default() });
    let first = held_up(&backend, &store).await;
    let singles: Vec<_> = (0..120).map(|_| call(&store, vec![started().1])).collect();
    let many = call(&store, (0..70).map(|_| started().1).collect());
    settle().await;
    backend.before.let_go();
    first.await.expect("no panic").expect("an answer");
    for caller in singles {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    assert_eq!(words(&many.await.expect("no panic")), ["written"; 70]);
    assert_eq!(backend.sizes(), [1, 50, 50, 90]);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_loses_nobody() {
    let (backend, store) = over(Limits { queue_depth: 3, ..Limits::default() });
    let first = held_up(&backend, &store).await;
    let callers: Vec<_> = (0..20).map(|_| call(&store, vec![started().1])).collect();
    settle().await;
    assert_eq!(backend.sizes(), [1]);
    backend.before.let_go();
    first.await.expect("no panic").expect("an answer");
    for caller in callers {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    let sizes = backend.sizes();
    assert_eq!(sizes.iter().sum::<usize>(), 21);
    // The three that waited, and at most one more for each place that they left.
    assert!(sizes[1] >= 3, "{sizes:?}");
}

#[tokio::test]
async fn a_loser_holds_up_nobody() {
    let (backend, store) = over(Limits::default());
    let (flow, start) = started();
    store.write(vec![start]).await.expect("an answer");
    let first = held_up(&backend, &store).await;
    let (winner, won) = next(&flow, &done(0));
    let (_, late) = next(&flow, &cancel());
    let (after, chained) = next(&winner, &done(1));
    let (never, _) = started();
    let (_, nowhere) = next(&never, &done(0));
    let (beside, other) = started();
    let callers =
        [vec![won], vec![late, nowhere], vec![other, chained], Vec::new()].map(|writes| call(&store, writes));
    settle().await;
    backend.before.let_go();
    first.await.expect("no panic").expect("an answer");
    let mut found = Vec::new();
    for caller in callers {
        found.push(words(&caller.await.expect("no panic")));
    }
    assert_eq!(found, [vec!["written"], vec!["lost", "missing"], vec!["written", "written"], vec![]]);
    assert_eq!(backend.sizes(), [1, 1, 5]);
    for flow in [&after, &beside] {
        whole(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nothing_with_him() {
    let (backend, store) = over(Limits::default());
    let first = held_up(&backend, &store).await;
    let (left, start) = started();
    let leaver = call(&store, vec![start]);
    let (stayed, start) = started();
    let stayer = call(&store, vec![start]);
    settle().await;
    leaver.abort();
    first.abort();
    assert!(leaver.await.expect_err("he is gone").is_cancelled());
    backend.before.let_go();
    assert_eq!(words(&stayer.await.expect("no panic")), ["written"]);
    assert_eq!(backend.sizes(), [1, 2]);
    for flow in [&left, &stayed] {
        whole(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn a_groups_error_reaches_each_member() {
    let errors: [fn() -> Error; 6] = [
        || Error::unavailable("away"),
        || Error::outcome_unknown("cut"),
        || Error::Fenced { name: "duties".to_owned(), token: 4, newest: 5 },
        || Error::Schema { reason: "newer".to_owned() },
        || Error::corrupt("a state", "odd"),
        || Error::configuration("wrong"),
    ];
    for error in errors {
        let (backend, store) = over(Limits::default());
        let first = held_up(&backend, &store).await;
        backend.says(&[None, Some(error)]);
        backend.well.store(false, Ordering::Relaxed);
        let (flow, start) = started();
        let groups = [vec![start], vec![started().1, started().1], vec![started().1]];
        let callers = groups.map(|writes| call(&store, writes));
        settle().await;
        backend.before.let_go();
        first.await.expect("no panic").expect("an answer");
        for caller in callers {
            let found = caller.await.expect("no panic").expect_err("its group was not written");
            assert_eq!(format!("{found:?}"), format!("{:?}", error()));
        }
        assert_eq!(backend.sizes(), [1, 4]);
        assert!(store.load(&[flow.state.id]).await.expect("a read")[0].is_none());
        // The next group has nothing to do with it.
        assert_eq!(words(&store.write(vec![started().1]).await), ["written"]);
    }
}

#[tokio::test]
async fn a_write_that_can_not_be_done_is_nothing_to_the_others() {
    let (backend, store) = over(Limits::default());
    let (flow, start) = started();
    store.write(vec![start]).await.expect("an answer");
    let (_, Write::Transition(mut impossible)) = next(&flow, &done(0)) else { panic!("it is a transition") };
    // A number that the history has already.
    Arc::make_mut(&mut impossible.record).events[0].0 = 1;
    let first = held_up(&backend, &store).await;
    let ((left, before), (right, behind)) = (started(), started());
    let groups = [vec![before], vec![started().1, Write::Transition(impossible)], vec![behind]];
    let [before, wrong, behind] = groups.map(|writes| call(&store, writes));
    settle().await;
    backend.before.let_go();
    first.await.expect("no panic").expect("an answer");
    for caller in [before, behind] {
        assert_eq!(words(&caller.await.expect("no panic")), ["written"]);
    }
    let said = wrong.await.expect("no panic").expect_err("it can't be done").to_string();
    assert!(said.contains("UNIQUE"), "{said}");
    assert_eq!(backend.sizes(), [1, 1, 4, 1, 2, 1]);
    for flow in [&flow, &left, &right] {
        whole(&store, flow).await.expect("whole");
    }
}

#[tokio::test]
async fn a_group_whose_outcome_nobody_knows_is_not_written_again() {
    let (backend, store) = over(Limits::default());
    let first = held_up(&backend, &store).await;
    backend.says(&[None, Some(|| Error::outcome_unknown("cut"))]);
    let callers = [call(&store, vec![started().1]), call(&store, vec![started().1])];
    settle().await;
    backend.before.let_go();
    first.await.expect("no panic").expect("an answer");
    for caller in callers {
        let found = caller.await.expect("no panic").expect_err("nobody knows");
        assert!(matches!(found, Error::OutcomeUnknown { .. }), "{found}");
    }
    assert_eq!(backend.sizes(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_are_few_transactions() {
    for lanes in [1, 3] {
        let (backend, store) = over(Limits { max_concurrent_batches: lanes, ..Limits::default() });
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                let (mut flow, start) = started();
                store.write(vec![start]).await.expect("an answer");
                for step in 0..3 {
                    let (moved, write) = next(&flow, &done(step));
                    assert_eq!(words(&store.write(vec![write]).await), ["written"]);
                    flow = moved;
                }
                flow
            });
        }
        for flow in writers.join_all().await {
            whole(&store, &flow).await.expect("whole");
        }
        let sizes = backend.sizes();
        assert_eq!(sizes.iter().sum::<usize>(), 1200);
        assert!(sizes.len() <= 300, "{} groups for 1200 writes on {lanes} lanes", sizes.len());
    }
}
