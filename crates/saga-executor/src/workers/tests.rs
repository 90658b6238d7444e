//! Sessions of workers: how tasks are assigned, cancelled, lost and assigned again.

use super::*;
use goconductor_saga::{Json, Timestamp, WorkflowId};
use tokio_util::sync::CancellationToken;

fn worker(actions: &[&str], capacity: usize) -> Worker {
    Worker {
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        capacity,
        version: "1".to_owned(),
        identity: "test".to_owned(),
    }
}

fn task(action: &str, timeout: Duration) -> Task {
    Task {
        workflow: WorkflowId(uuid::Uuid::now_v7()),
        rules: goconductor_saga::RulesVersion::CURRENT,
        step: "pay".to_owned(),
        side: Side::Execute,
        is_probe: false,
        action: action.to_owned(),
        call: None,
        attempt: 1,
        idempotency_key: "k".to_owned(),
        input: Json::Null.into(),
        payload_slot: goconductor_transition::PayloadSlot::default(),
        lock_tokens: std::collections::BTreeMap::new(),
        deadline: Timestamp(0),
        timeout,
        heartbeat: None,
        cancelled: CancellationToken::new(),
        at_deadline: crate::task::DeadlineOutcome::default(),
        span: tracing::Span::none(),
        trace: None,
    }
}

fn key() -> ServiceKey {
    ("default".to_owned(), "payments".to_owned())
}

fn pool(workers: &Workers) -> Arc<Pool> {
    let (_, pool, _) = workers.serving().pop().unwrap();
    pool
}

#[tokio::test]
async fn lost_session_makes_outcome_unknown() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
    let pool = pool(&workers);
    let attempt = tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await });
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
    workers.deregister(&key(), &session, messages);
    let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
    assert_eq!(failure.code, "WORKER_LOST");
    assert!(workers.serving().is_empty());
}

#[tokio::test(start_paused = true)]
async fn expired_heartbeat_makes_outcome_unknown_and_cancels_task() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
    let pool = pool(&workers);
    let heartbeat = Some(Heartbeat::new(Duration::from_secs(2)));
    let task = Task { heartbeat, ..task("charge", Duration::from_secs(60)) };
    let attempt = tokio::spawn(async move { pool.attempt(&task).await });
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
    let start = tokio::time::Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        session.beat(0);
    }
    let Outcome::Unknown { failure, .. } = attempt.await.unwrap() else { panic!("no doubt") };
    assert_eq!(failure.code, "HEARTBEAT_TIMED_OUT");
    assert_eq!(start.elapsed().as_secs(), 7, "two seconds after the last heartbeat");
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(0, _))));
}

#[tokio::test(start_paused = true)]
async fn unassigned_task_is_retryable() {
    let workers = Workers::default();
    let _session = workers.register(&key(), worker(&["charge"], 1));
    let outcome = pool(&workers).attempt(&task("ship", Duration::from_secs(1))).await;
    let Outcome::Retryable { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.code, "NO_WORKER");
}

#[tokio::test(start_paused = true)]
async fn full_worker_gets_next_task_when_slot_is_free() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
    let pool = pool(&workers);
    let attempts: Vec<_> = (0..2)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(5))).await })
        })
        .collect();
    for expected in 0..2 {
        assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(id, _)) if id == expected));
        assert!(messages.try_recv().is_err(), "one task at a time");
        session.complete(expected, Outcome::Done { output: Json::Null });
    }
    for attempt in attempts {
        assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }));
    }
}

#[tokio::test]
async fn cancelled_task_is_cancelled_at_worker_and_keeps_its_outcome() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 1));
    let pool = pool(&workers);
    let mut task = task("charge", Duration::from_secs(5));
    task.cancelled.cancel();
    let attempt = tokio::spawn({
        let (pool, task) = (Arc::clone(&pool), task.clone());
        async move { pool.attempt(&task).await }
    });
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(0, _))));
    session.complete(0, Outcome::Done { output: Json::Null });
    assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }), "a late success is a success");
    task.cancelled = CancellationToken::new();
    let dropped = tokio::time::timeout(Duration::from_millis(20), pool.attempt(&task)).await;
    assert!(dropped.is_err());
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(1, _))));
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Cancel(1, _))));
    assert!(session.is_idle());
}

fn attempt(pool: &Arc<Pool>, timeout: u64) -> tokio::task::JoinHandle<Outcome> {
    let pool = Arc::clone(pool);
    tokio::spawn(async move { pool.attempt(&task("charge", Duration::from_secs(timeout))).await })
}

#[tokio::test]
async fn tasks_that_were_assigned_precede_the_acknowledgement_of_a_drain() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 2));
    let pool = pool(&workers);
    let attempt = attempt(&pool, 5);
    tokio::task::yield_now().await;
    workers.acknowledge_drain(&session);
    workers.acknowledge_drain(&session);
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
    assert!(matches!(messages.recv().await, Some(WorkerMessage::DrainAck)));
    assert!(session.assign(&task("charge", Duration::from_secs(5)), Duration::from_secs(5)).is_none());
    assert!(messages.try_recv().is_err(), "a drain is acknowledged once, and no task follows");
    session.complete(0, Outcome::Done { output: Json::Null });
    assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }));
}

#[tokio::test]
async fn tasks_that_were_assigned_precede_the_drain_of_the_executor() {
    let workers = Workers::default();
    let (session, mut messages) = workers.register(&key(), worker(&["charge"], 2));
    let attempt = attempt(&pool(&workers), 5);
    tokio::task::yield_now().await;
    workers.drain(&session);
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Task(0, _))));
    assert!(matches!(messages.recv().await, Some(WorkerMessage::Drain)));
    assert!(workers.serving().is_empty());
    session.complete(0, Outcome::Done { output: Json::Null });
    assert!(matches!(attempt.await.unwrap(), Outcome::Done { .. }));
}

#[tokio::test(start_paused = true)]
async fn task_that_was_not_sent_goes_to_another_worker_with_the_time_that_is_left() {
    let workers = Workers::default();
    let (first, mut sent) = workers.register(&key(), worker(&["charge"], 2));
    let pool = pool(&workers);
    let lost = attempt(&pool, 10);
    assert!(matches!(sent.recv().await, Some(WorkerMessage::Task(0, _))));
    let moved = attempt(&pool, 10);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (second, mut messages) = workers.register(&key(), worker(&["charge"], 1));
    workers.deregister(&key(), &first, sent);
    let Some(WorkerMessage::Task(0, task)) = messages.recv().await else { panic!("no task") };
    assert_eq!(task.attempt, 1);
    assert_eq!(task.timeout.as_millis().div_ceil(100), 60, "six of ten seconds are left");
    second.complete(0, Outcome::Done { output: Json::Null });
    assert!(matches!(moved.await.unwrap(), Outcome::Done { .. }));
    let Outcome::Unknown { failure, .. } = lost.await.unwrap() else { panic!("no doubt") };
    assert_eq!(failure.code, "WORKER_LOST", "the first task was sent");
}

#[tokio::test(start_paused = true)]
async fn task_that_was_not_sent_and_finds_no_other_worker_had_no_effect() {
    let workers = Workers::default();
    let (session, messages) = workers.register(&key(), worker(&["charge"], 1));
    let attempt = attempt(&pool(&workers), 10);
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    workers.deregister(&key(), &session, messages);
    let Outcome::Retryable { failure, .. } = attempt.await.unwrap() else { panic!("not retryable") };
    assert_eq!(failure.code, "NO_WORKER");
    assert_eq!(start.elapsed().as_secs(), 9, "nine tenths of the timeout have passed");
}
