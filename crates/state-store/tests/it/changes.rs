//! Every durable change is announced, those of one workflow in the order of their `seq`.

use std::collections::BTreeMap;
use std::sync::Arc;

use goconductor_saga::{Status, WorkflowId};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::flow::{Flow, Given, at, cancel, done, keyed, order, unkeyed};
use goconductor_store::{Error, Seen, WorkflowStore, Write};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::watched::Watched;

fn seen(flow: &Flow) -> Seen {
    Seen { id: flow.state.id, seq: flow.state.seq, status: flow.state.status() }
}

/// All that has been announced so far.
fn announced(listener: &mut Receiver<Seen>) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        match listener.try_recv() {
            Ok(seen) => all.push(seen),
            Err(TryRecvError::Empty) => return all,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn what_is_written_is_announced_and_nothing_else() {
    let backend = Watched::new();
    let store = BatchingStore::new(Arc::clone(&backend) as _, Limits::default());
    let mut listener = store.changes().subscribe();
    let plan = order().expect("a graph");
    let (flow, start) = Flow::start(&plan, Given::default()).unwrap();
    let (_, repeat) = Flow::start(&plan, Given::default()).unwrap();
    let (next, write) = flow.next(&done(0), at(1)).expect("it can happen");
    let (_, late) = flow.next(&cancel(), at(1)).expect("it can happen");
    let group = vec![
        keyed(start, "key", "digest"),
        keyed(repeat.clone(), "key", "digest"),
        keyed(repeat, "key", "another"),
        Write::Transition(write),
        Write::Transition(late),
    ];
    store.write(group).await.expect("an answer");
    assert_eq!(announced(&mut listener), [seen(&flow), seen(&next)]);
    backend.says(&[Some(|| Error::unavailable("away"))]);
    let (lost, start) = Flow::start(&plan, Given::default()).unwrap();
    store.write(vec![unkeyed(start.clone())]).await.expect_err("it was not written");
    assert_eq!(announced(&mut listener), []);
    store.write(vec![unkeyed(start)]).await.expect("an answer");
    assert_eq!(announced(&mut listener), [seen(&lost)]);
}

#[tokio::test]
async fn a_group_that_is_heard_of_late_is_still_announced_first() {
    let backend = Watched::new();
    let store = Arc::new(BatchingStore::new(
        Arc::clone(&backend) as _,
        Limits { max_concurrent_batches: 2, ..Limits::default() },
    ));
    let (flow, start) = Flow::start(&order().expect("a graph"), Given::default()).unwrap();
    store.write(vec![unkeyed(start)]).await.expect("an answer");
    let mut listener = store.changes().subscribe();
    let (one, first) = flow.next(&done(0), at(1)).expect("it can happen");
    let (two, second) = one.next(&done(1), at(2)).expect("it can happen");
    backend.after.hold_next();
    let call = |write| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.write(vec![Write::Transition(write)]).await })
    };
    let slow = call(first);
    // It is written, but nobody has been told.
    backend.after.arrived().await;
    assert_eq!(store.seen(&[flow.state.id]).await.expect("a read"), [seen(&one)]);
    // Whoever read it goes on, and does not wait for the other's answer.
    call(second).await.expect("no panic").expect("an answer");
    assert_eq!(announced(&mut listener), []);
    backend.after.let_go();
    slow.await.expect("no panic").expect("an answer");
    assert_eq!(announced(&mut listener), [seen(&one), seen(&two)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_workflows_changes_are_announced_in_order() {
    let store = Arc::new(BatchingStore::new(
        Watched::new(),
        Limits { batch_size: 4, max_concurrent_batches: 4, ..Limits::default() },
    ));
    let mut listener = store.changes().subscribe();
    let plan = order().expect("a graph");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let (store, plan) = (Arc::clone(&store), Arc::clone(&plan));
        writers.spawn(async move {
            let (mut flow, start) = Flow::start(&plan, Given::default()).unwrap();
            store.write(vec![unkeyed(start)]).await.expect("an answer");
            for step in 0..3 {
                let (next, write) = flow.next(&done(step), at(1)).expect("it can happen");
                store.write(vec![Write::Transition(write)]).await.expect("an answer");
                flow = next;
            }
        });
    }
    writers.join_all().await;
    let mut newest: BTreeMap<WorkflowId, Seen> = BTreeMap::new();
    let all = announced(&mut listener);
    assert_eq!(all.len(), 240);
    for seen in all {
        if let Some(before) = newest.insert(seen.id, seen) {
            assert!(before.seq < seen.seq, "{seen:?} came after {before:?}");
        }
    }
    assert!(newest.values().all(|seen| seen.status == Status::Completed));
}
