//! The Rust SDK with a real server: a program that serves its own steps, typed actions, and a microservice that dies
//! between its commit and its response.

use crate::restarts::keep_alive;
use goconductor::{
    ActionError, CompensationInput, Conductor, Context, Service, Start, Status, Workflow, WorkflowStep,
};
use goconductor_harness::{Dev, DevOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

async fn dev(folder: &tempfile::TempDir) -> (Dev, Conductor) {
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let conductor = Conductor::connect(dev.api.base()).unwrap();
    (dev, conductor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_one_program_are_executed_and_compensated() {
    let folder = tempfile::tempdir().unwrap();
    let (_dev, conductor) = dev(&folder).await;
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let step = |name: &'static str| {
        let (done, undone) = (Arc::clone(&log), Arc::clone(&log));
        WorkflowStep::new(name)
            .execute(move |step| {
                done.lock().unwrap().push(format!("do {name}"));
                async move {
                    if step.input()["refuse"] == name {
                        return Err(ActionError::refused("NO", "scripted refusal"));
                    }
                    Ok(json!({"key": step.key(), "attempt": step.attempt()}))
                }
            })
            .compensate(move |step| {
                assert_eq!(step.output().unwrap()["attempt"], 1);
                undone.lock().unwrap().push(format!("undo {name}"));
                async { Ok(Value::Null) }
            })
    };
    let workflow =
        Workflow::new("Travel").step(step("Book Flight")).step(step("Book Hotel")).step(step("Pay"));
    let good = conductor.start_workflow(&workflow, json!({})).await.unwrap();
    assert_eq!(good.result().await.unwrap().status, Status::Completed);
    let bad = conductor.start_workflow(&workflow, json!({"refuse": "Pay"})).await.unwrap();
    let ended = bad.result().await.unwrap();
    assert_eq!(ended.status, Status::RolledBack);
    assert_eq!(ended.error.unwrap().code, "NO");
    let said = log.lock().unwrap().join(", ");
    let once = "do Book Flight, do Book Hotel, do Pay";
    assert_eq!(said, format!("{once}, {once}, undo Book Hotel, undo Book Flight"));
}

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    amount: u32,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Receipt {
    charged: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_actions_report_every_kind_of_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, conductor) = dev(&folder).await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let service = Service::new("payments")
        .action("charge", move |context: Context, input: Charge| {
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(context.time_left() > Duration::ZERO && !context.is_cancelled());
                match (input.amount, nth) {
                    (1, 0) => Err(ActionError::retryable("BUSY", "later")),
                    (1, 1) => Err(ActionError::unknown("LOST", "who knows")),
                    (1, 2) => panic!("scripted panic"),
                    (amount, _) => Ok(Receipt { charged: amount }),
                }
            }
        })
        .compensation("refund", |_, undo: CompensationInput<Charge, Receipt>| async move {
            assert_eq!(undo.output, Some(Receipt { charged: undo.input.amount }));
            Ok(json!({"refunded": undo.input.amount}))
        });
    let serving = conductor.serve(service).await.unwrap();
    serving.connected().await.unwrap();
    let yaml = "
workflow: pay
steps:
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 5s, retry: { max_attempts: 6, initial: 20ms } }
output: { charged: '${ steps.charge.output.charged }' }
";
    conductor.apply("pay", yaml).await.unwrap();
    let start = |input: Value| Start::of("pay").input(input).unwrap().label("team", "shop");
    let paid = conductor.start(start(json!({"amount": 1})).idempotency_key("one")).await.unwrap();
    let ended = paid.result().await.unwrap();
    assert_eq!(
        (ended.status.clone(), ended.output::<Receipt>().unwrap()),
        (Status::Completed, Receipt { charged: 1 })
    );
    assert_eq!(tries.load(Ordering::Relaxed), 4, "busy, unknown, panicked, done");
    let again = conductor.start(start(json!({"amount": 1})).idempotency_key("one")).await.unwrap();
    assert_eq!(again.id(), paid.id());
    let wrong = conductor.start(start(json!({"amount": "much"}))).await.unwrap().result().await.unwrap();
    assert_eq!((wrong.status, wrong.error.unwrap().code), (Status::RolledBack, "BAD_INPUT".to_owned()));
    // After an orderly end the service has no worker, and the workflow reports that.
    serving.shutdown().await;
    let waits = conductor.start(start(json!({"amount": 7}))).await.unwrap();
    for _ in 0..100 {
        let view = dev.api.get(&format!("/workflows/{}", waits.id())).await.unwrap();
        if view["waiting_on"][0]["kind"] == "NO_WORKER" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", waits.describe().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_without_heartbeats_is_given_up_before_its_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let (_dev, conductor) = dev(&folder).await;
    let service = Service::new("long").action("work", |context: Context, _: Value| async move {
        assert_eq!(context.heartbeat_timeout(), Some(Duration::from_millis(500)));
        // The first attempt hangs. The second is as slow but sends heartbeats.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            if context.attempt() > 1 {
                context.heartbeat();
            }
        }
        if context.attempt() == 1 {
            assert!(context.is_cancelled(), "the context reports that the attempt was given up");
        }
        Ok(json!({"attempt": context.attempt()}))
    });
    let serving = conductor.serve(service).await.unwrap();
    serving.connected().await.unwrap();
    let yaml = "
workflow: long
steps:
  - { name: work, run: long/work, compensate: none, timeout: { attempt: 60s, heartbeat: 500ms }, retry: { initial: 20ms } }
output: { attempt: '${ steps.work.output.attempt }' }
";
    conductor.apply("long", yaml).await.unwrap();
    let handle = conductor.start(Start::of("long")).await.unwrap();
    let ended =
        tokio::time::timeout(Duration::from_secs(20), handle.result()).await.expect("it ends").unwrap();
    assert_eq!(
        (ended.status.clone(), ended.output::<Value>().unwrap()),
        (Status::Completed, json!({"attempt": 2}))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_dies_after_commits_applies_each_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_dev, conductor) = dev(&folder).await;
    let yaml = "
workflow: fragile
defaults: { timeout: 5s, retry: { max_attempts: 100, initial: 20ms, max: 200ms } }
steps:
  - { name: a, run: fragile/do, compensate: fragile/undo }
  - { name: b, run: fragile/do, compensate: fragile/undo }
  - { name: c, run: fragile/do, compensate: fragile/undo }
";
    conductor.apply("fragile", yaml).await.unwrap();
    let database = folder.path().join("fragile.db");
    let deaths = Arc::new(AtomicU64::new(0));
    let arguments = vec![_dev.api.base().into(), database.clone().into_os_string()];
    let alive = tokio::spawn(keep_alive("fragile", arguments, Arc::clone(&deaths)));
    let count = std::env::var("GOCONDUCTOR_HARNESS_ORDERS").map_or(100, |_| 500);
    let mut handles = Vec::new();
    for number in 0..count {
        let input = if number % 3 == 0 { json!({"refuse": "c"}) } else { json!({}) };
        handles.push(conductor.start(Start::of("fragile").input(input).unwrap()).await.unwrap());
    }
    let mut ended = Vec::new();
    for handle in &handles {
        let result = tokio::time::timeout(Duration::from_secs(240), handle.result()).await;
        ended.push((handle.id().to_owned(), result.expect("it ends").unwrap().status));
    }
    alive.abort();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display())).await.unwrap();
    for (id, status) in ended {
        for step in ["a", "b", "c"] {
            let (applied, undone): (i64, i64) = sqlx::query_as(
                "SELECT coalesce(sum(applied), 0), coalesce(sum(undone), 0) FROM effects WHERE step = ?1",
            )
            .bind(format!("{id}/{step}"))
            .fetch_one(&pool)
            .await
            .unwrap();
            let expected = match (&status, step) {
                (Status::Completed, _) => (1, 0),
                (Status::RolledBack, "c") => (0, 0),
                (Status::RolledBack, _) => (1, 1),
                other => panic!("{id}: {other:?}"),
            };
            assert_eq!((applied, undone), expected, "{id}/{step}: {status:?}");
        }
    }
    assert!(deaths.load(Ordering::Relaxed) > 5, "it died {deaths:?} times: the run proves nothing");
}
