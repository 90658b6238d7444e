//! The publication of commands after a commit, and the wake-up of the dispatcher.

use crate::fixture::{Fixture, assert_pending, topic};
use goconductor_queue::{Error, Queue};
use goconductor_saga::Timestamp;
use goconductor_transition::clock;
use serde_json::json;
use std::pin::pin;

#[tokio::test]
async fn commands_are_published_only_after_the_commit() {
    let fixture = Fixture::new().await;
    fixture.store.gate.block_next();
    let mut start = pin!(fixture.start(None, json!({})));
    tokio::select! {
        biased;
        _ = start.as_mut() => panic!("the write is blocked"),
        () = fixture.store.gate.entered() => {}
    }
    assert_eq!(fixture.queue.backlog(&topic()).await.unwrap().waiting, 0);
    fixture.store.gate.open();
    start.await.unwrap();
    fixture.engine.drain().await;
    assert_eq!(fixture.queue.backlog(&topic()).await.unwrap().waiting, 3);
}

#[tokio::test]
async fn commands_of_a_failed_publish_are_released_in_the_ledger() {
    let fixture = Fixture::new().await;
    fixture.queue.fail_next(Error::TooLarge { topic: topic(), bytes: 2, limit: 1 });
    let id = fixture.start(None, json!({})).await.unwrap().state.id;
    fixture.engine.drain().await;
    for step in 0..3 {
        let row = fixture.row(id, step).await;
        assert_eq!(row.deliveries, 0, "the command was certainly not published");
        assert!(row.due_at <= clock::now(), "the row is due at once");
    }
}

#[tokio::test]
async fn commands_of_a_publish_with_unknown_outcome_count_as_delivered() {
    let fixture = Fixture::new().await;
    fixture.queue.fail_next(Error::unavailable("the broker does not respond"));
    let before = clock::now();
    let id = fixture.start(None, json!({})).await.unwrap().state.id;
    fixture.engine.drain().await;
    for step in 0..3 {
        let row = fixture.row(id, step).await;
        assert_eq!(row.deliveries, 1, "the command may have been published");
        assert!(row.due_at > before, "the row is due again after the redelivery time");
    }
}

#[tokio::test]
async fn command_without_a_consumer_is_left_to_the_ledger() {
    let fixture = Fixture::new().await;
    let other = fixture.other_engine();
    let plan = other.plan("default", "order", None).await.unwrap();
    let request = goconductor_transition::StartRequest {
        namespace: "default".to_owned(),
        plan,
        input: json!({}),
        labels: Default::default(),
        idempotency_key: None,
        actor: None,
        trace: None,
    };
    let id = other.start(request).await.unwrap().state.id;
    other.drain().await;
    assert_eq!(fixture.row(id, 0).await.deliveries, 0);
}

#[tokio::test]
async fn row_that_is_due_before_the_next_poll_wakes_the_dispatcher() {
    let fixture = Fixture::new().await;
    let notifier = fixture.engine.timer_notifier();
    notifier.set_next_poll(Timestamp(1000));
    let mut notified = pin!(notifier.notified());
    assert_pending(notified.as_mut()).await;
    notifier.notify_due(Timestamp(1000));
    assert_pending(notified.as_mut()).await;
    notifier.notify_due(Timestamp(999));
    notified.await;
    // A wake-up without a waiting dispatcher is kept.
    notifier.notify();
    notifier.notified().await;
}
