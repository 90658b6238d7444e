//! Services that are connected as workers.

use crate::server::Server;
use goconductor::{
    ActionError, CompensationInput, Conductor, Context, Error, Operation, Service, Start, Status,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

#[derive(Debug, Serialize, Deserialize)]
struct Charge {
    amount: u32,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Receipt {
    charged: u32,
}

/// Applies a definition with one step of the service `shop`.
async fn apply(conductor: &Conductor, step: &str) {
    let yaml =
        format!("workflow: shop\nsteps:\n  - {{ {step}, retry: {{ max_attempts: 8, initial: 10ms }} }}\n");
    conductor.apply("shop", &yaml).await.unwrap();
}

async fn run(conductor: &Conductor, input: Value) -> goconductor::WorkflowResult {
    let start = Start::of("shop").input(input).unwrap();
    conductor.start(start).await.unwrap().result().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_failure_is_retried_or_rolls_back() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let attempts = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&attempts);
    let service = Service::new("shop").action("charge", move |context: Context, input: Charge| {
        let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            assert_eq!(context.attempt(), number);
            match (input.amount, number) {
                (1, 1) => Err(ActionError::retryable("BUSY", "try again")),
                (1, 2) => {
                    Err(ActionError::retry_after("BUSY", "try again later", Duration::from_millis(100)))
                }
                (1, 3) => Err(ActionError::unknown("LOST", "the response was lost")),
                (1, 4) => panic!("the input says so"),
                (2, _) => Err(ActionError::refused("LIMIT", "too much")),
                (amount, _) => Ok(Receipt { charged: amount }),
            }
        }
    });
    let worker = conductor.serve(service.version("1.2.3").capacity(2)).await.unwrap();
    worker.connected().await.unwrap();
    apply(&conductor, "name: charge, run: shop/charge, compensate: none").await;
    let start = Instant::now();
    assert_eq!(run(&conductor, json!({"amount": 1})).await.status, Status::Completed);
    assert_eq!(attempts.swap(0, Ordering::Relaxed), 5);
    assert!(start.elapsed() >= Duration::from_millis(100), "retry_after is honoured");
    let refused = run(&conductor, json!({"amount": 2})).await;
    assert_eq!((refused.status, refused.error.unwrap().code), (Status::RolledBack, "LIMIT".to_owned()));
    assert_eq!(attempts.load(Ordering::Relaxed), 1, "a refusal is not retried");
    let invalid = run(&conductor, json!({"amount": "much"})).await;
    assert_eq!((invalid.status, invalid.error.unwrap().code), (Status::RolledBack, "BAD_INPUT".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensation_receives_input_and_output_of_its_step() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let service = Service::new("shop")
        .action("charge", |context: Context, input: Charge| async move {
            assert_eq!((context.operation(), context.step()), (Operation::Execute, "charge"));
            assert!(context.time_left() > Duration::ZERO && context.lock_token("none").is_none());
            Ok(Receipt { charged: input.amount })
        })
        .compensation("refund", |context: Context, input: CompensationInput<Charge, Receipt>| async move {
            assert_eq!(context.operation(), Operation::Compensate);
            assert!(context.key().starts_with(context.workflow_id()), "{}", context.key());
            assert!(context.traceparent().starts_with("00-"));
            assert_eq!(input.output, Some(Receipt { charged: input.input.amount }));
            Ok(Value::Null)
        })
        .action("ship", |_: Context, _: Value| async {
            Err::<Value, _>(ActionError::refused("NO_ADDRESS", "the order has no address"))
        });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    let yaml = "
workflow: shop
steps:
  - { name: charge, run: shop/charge, compensate: shop/refund }
  - { name: ship, run: shop/ship, compensate: none }
";
    conductor.apply("shop", yaml).await.unwrap();
    assert_eq!(run(&conductor, json!({"amount": 3})).await.status, Status::RolledBack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempt_without_heartbeat_is_cancelled_and_retried() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let service = Service::new("shop").action("work", |context: Context, _: Value| async move {
        assert_eq!(context.heartbeat_timeout(), Some(Duration::from_millis(300)));
        if context.attempt() == 1 {
            context.cancelled().await;
            return Err(ActionError::unknown("CANCELLED", "no heartbeat was sent"));
        }
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            context.heartbeat();
        }
        Ok(json!(context.attempt()))
    });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    let step = "name: work, run: shop/work, compensate: none, timeout: { attempt: 60s, heartbeat: 300ms }";
    apply(&conductor, step).await;
    assert_eq!(run(&conductor, Value::Null).await.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_finishes_tasks_in_flight_and_accepts_no_more() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = Service::new("shop").action("work", {
        let (started, finish) = (Arc::clone(&started), Arc::clone(&finish));
        move |_: Context, _: Value| {
            let (started, finish) = (Arc::clone(&started), Arc::clone(&finish));
            async move {
                started.notify_one();
                finish.notified().await;
                Ok(Value::Null)
            }
        }
    });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    apply(&conductor, "name: work, run: shop/work, compensate: none").await;
    let handle = conductor.start(Start::of("shop")).await.unwrap();
    started.notified().await;
    let shutdown = tokio::spawn(worker.shutdown());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!shutdown.is_finished());
    finish.notify_one();
    shutdown.await.unwrap();
    assert_eq!(handle.result().await.unwrap().status, Status::Completed);
    let waiting = conductor.start(Start::of("shop")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.describe().await.unwrap().status.is_final(), "the service has no worker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_an_action_is_kept() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let service = Service::new("shop").max_in_flight("work", 1).action("work", {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        move |context: Context, _: Value| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                assert_eq!((context.action(), context.lock_tokens().len()), ("work", 0));
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(Value::Null)
            }
        }
    });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    apply(&conductor, "name: work, run: shop/work, compensate: none").await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(conductor.start(Start::of("shop")).await.unwrap());
    }
    for handle in handles {
        assert_eq!(handle.result().await.unwrap().status, Status::Completed);
    }
    assert_eq!(most.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_keeps_its_details_and_the_result_has_its_cause() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let detail = json!({"field": "to"});
    let service = Service::new("shop").action("ship", {
        let detail = detail.clone();
        move |_: Context, _: Value| {
            let detail = Some(detail.clone());
            async move {
                let (code, message) = ("NO_ADDRESS".to_owned(), "the order has no address".to_owned());
                Err::<Value, _>(ActionError::Refused { code, message, detail })
            }
        }
    });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    apply(&conductor, "name: ship, run: shop/ship, compensate: none").await;
    let result = run(&conductor, Value::Null).await;
    assert_eq!((result.status, result.cause.as_deref()), (Status::RolledBack, Some("STEP_FAILED")));
    assert_eq!(result.error.unwrap().detail, Some(detail));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_connects_to_configured_executor() {
    let server = Server::start().await;
    let conductor = server.conductor().with_executors([server.url()]);
    let service = Service::new("shop").action("work", |_: Context, _: Value| async { Ok(Value::Null) });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_without_actions_and_invalid_executor_are_misuse() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let action = |_: Context, _: Value| async { Ok(Value::Null) };
    for service in [
        Service::new("shop"),
        Service::new("").action("work", action),
        Service::new("shop").action("work", action).max_in_flight("wrok", 1),
    ] {
        let served = conductor.serve(service).await;
        assert!(matches!(served, Err(Error::Misuse(_))), "{served:?}");
    }
    let conductor = conductor.with_executors(["not a url"]);
    let served = conductor.serve(Service::new("shop").action("work", action)).await;
    assert!(matches!(served, Err(Error::Misuse(_))), "{served:?}");
}
