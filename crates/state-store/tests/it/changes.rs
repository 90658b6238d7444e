//! The batching store publishes every durable change. The changes of a workflow are in the order of their `seq`.

use std::collections::BTreeMap;
use std::sync::Arc;

use goconductor_saga::{Status, WorkflowId};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::flow::{Flow, StartOptions, at, cancel, done, keyed, order, unkeyed};
use goconductor_store::{Error, WorkflowHead, WorkflowStore, Write};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::instrumented::InstrumentedStore;

fn seen(flow: &Flow) -> WorkflowHead {
    WorkflowHead { id: flow.state.id, seq: flow.state.seq, status: flow.state.status() }
}

/// Returns all changes that have been published so far.
fn published(subscriber: &mut Receiver<WorkflowHead>) -> Vec<WorkflowHead> {
    let mut all = Vec::new();
    loop {
        match subscriber.try_recv() {
            Ok(seen) => all.push(seen),
            Err(TryRecvError::Empty) => return all,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn only_durable_changes_are_published() {
    let backend = InstrumentedStore::new();
    let store = BatchingStore::new(Arc::clone(&backend) as _, Limits::default());
    let mut subscriber = store.changes().subscribe();
    let plan = order().expect("a graph");
    let (flow, start) = Flow::start(&plan, StartOptions::default()).unwrap();
    let (_, repeat) = Flow::start(&plan, StartOptions::default()).unwrap();
    let (next, write) = flow.next(&done(0), at(1)).expect("the input is valid");
    let (_, late) = flow.next(&cancel(), at(1)).expect("the input is valid");
    let batch = vec![
        keyed(start, "key", "digest"),
        keyed(repeat.clone(), "key", "digest"),
        keyed(repeat, "key", "another"),
        Write::Transition(write),
        Write::Transition(late),
    ];
    store.write(batch).await.expect("a result");
    assert_eq!(published(&mut subscriber), [seen(&flow), seen(&next)]);
    backend.fail_next(&[Some(|| Error::unavailable("connection refused"))]);
    let (lost, start) = Flow::start(&plan, StartOptions::default()).unwrap();
    store.write(vec![unkeyed(start.clone())]).await.expect_err("the database is unavailable");
    assert_eq!(published(&mut subscriber), []);
    store.write(vec![unkeyed(start)]).await.expect("a result");
    assert_eq!(published(&mut subscriber), [seen(&lost)]);
}

#[tokio::test]
async fn changes_of_a_batch_that_completes_late_are_published_first() {
    let backend = InstrumentedStore::new();
    let store = Arc::new(BatchingStore::new(
        Arc::clone(&backend) as _,
        Limits { max_concurrent_batches: 2, ..Limits::default() },
    ));
    let (flow, start) = Flow::start(&order().expect("a graph"), StartOptions::default()).unwrap();
    store.write(vec![unkeyed(start)]).await.expect("a result");
    let mut subscriber = store.changes().subscribe();
    let (one, first) = flow.next(&done(0), at(1)).expect("the input is valid");
    let (two, second) = one.next(&done(1), at(2)).expect("the input is valid");
    backend.after.block_next();
    let call = |write| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.write(vec![Write::Transition(write)]).await })
    };
    let slow = call(first);
    // The first batch is durable, but its writer has not received the response.
    backend.after.arrived().await;
    assert_eq!(store.heads(&[flow.state.id]).await.expect("a read"), [seen(&one)]);
    // A caller that reads the workflow can continue before that response.
    call(second).await.expect("no panic").expect("a result");
    assert_eq!(published(&mut subscriber), []);
    backend.after.release();
    slow.await.expect("no panic").expect("a result");
    assert_eq!(published(&mut subscriber), [seen(&one), seen(&two)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_a_workflow_are_published_in_order() {
    let store = Arc::new(BatchingStore::new(
        InstrumentedStore::new(),
        Limits { batch_size: 4, max_concurrent_batches: 4, ..Limits::default() },
    ));
    let mut subscriber = store.changes().subscribe();
    let plan = order().expect("a graph");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let (store, plan) = (Arc::clone(&store), Arc::clone(&plan));
        writers.spawn(async move {
            let (mut flow, start) = Flow::start(&plan, StartOptions::default()).unwrap();
            store.write(vec![unkeyed(start)]).await.expect("a result");
            for step in 0..3 {
                let (next, write) = flow.next(&done(step), at(1)).expect("the input is valid");
                store.write(vec![Write::Transition(write)]).await.expect("a result");
                flow = next;
            }
        });
    }
    writers.join_all().await;
    let mut newest: BTreeMap<WorkflowId, WorkflowHead> = BTreeMap::new();
    let all = published(&mut subscriber);
    assert_eq!(all.len(), 240);
    for seen in all {
        if let Some(before) = newest.insert(seen.id, seen) {
            assert!(before.seq < seen.seq, "{seen:?} was published after {before:?}");
        }
    }
    assert!(newest.values().all(|seen| seen.status == Status::Completed));
}
