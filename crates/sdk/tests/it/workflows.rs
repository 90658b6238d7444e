//! Starting, following, cancelling and signalling workflows.

use crate::server::Server;
use goconductor::{ActionError, Context, Error, Handle, Service, Start, Status, Workflow, WorkflowStep};
use goconductor_client::Error as CallError;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A workflow whose only step runs `execute`.
fn one_step<F>(execute: impl Fn(goconductor::StepContext) -> F + Send + Sync + 'static) -> Workflow
where
    F: Future<Output = Result<Value, ActionError>> + Send + 'static,
{
    Workflow::new("One Step").step(WorkflowStep::new("Work").execute(execute))
}

async fn wait_for(handle: &Handle, status: &Status) {
    for _ in 0..500 {
        if handle.describe().await.unwrap().status == *status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", handle.describe().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closures_run_in_order_and_compensate_in_reverse_order() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let step = |name: &'static str| {
        let (executed, compensated) = (Arc::clone(&log), Arc::clone(&log));
        WorkflowStep::new(name)
            .execute(move |step| {
                executed.lock().unwrap().push(format!("execute {name}"));
                async move {
                    if step.input()["refuse"] == name {
                        return Err(ActionError::refused("NO", "the input says so"));
                    }
                    Ok(json!({"by": name}))
                }
            })
            .compensate(move |step| {
                assert_eq!(step.output(), Some(&json!({"by": name})));
                compensated.lock().unwrap().push(format!("compensate {name}"));
                async { Ok(Value::Null) }
            })
    };
    let workflow = Workflow::new("Travel").step(step("Flight")).step(step("Hotel")).step(step("Pay"));
    let completed = conductor.start_workflow(&workflow, json!({})).await.unwrap().result().await.unwrap();
    assert_eq!((&completed.status, completed.error.is_none()), (&Status::Completed, true));
    let refused = conductor.start_workflow(&workflow, json!({"refuse": "Pay"})).await.unwrap();
    let refused = refused.result().await.unwrap();
    assert_eq!((refused.status, refused.error.unwrap().code), (Status::RolledBack, "NO".to_owned()));
    let executes = "execute Flight, execute Hotel, execute Pay";
    let expected = format!("{executes}, {executes}, compensate Hotel, compensate Flight");
    assert_eq!(log.lock().unwrap().join(", "), expected);
    drop(conductor);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_converted_to_requested_type() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let service = Service::new("shop").action("work", |_: Context, input: Value| async { Ok(input) });
    let worker = conductor.serve(service).await.unwrap();
    worker.connected().await.unwrap();
    let yaml = "
workflow: echo
steps: [{ name: work, run: shop/work, compensate: none }]
output: { amount: '${ steps.work.output.amount }' }
";
    assert_eq!(conductor.apply("echo", yaml).await.unwrap(), 1);
    assert_eq!(conductor.apply("echo", yaml).await.unwrap(), 1, "equal content is no new version");
    let start = Start::of("echo").version(1).input(json!({"amount": 7})).unwrap().label("team", "shop");
    let handle = conductor.start(start).await.unwrap();
    let result = conductor.workflow(handle.id()).result().await.unwrap();
    assert_eq!(result.output::<Value>().unwrap(), json!({"amount": 7}));
    let wrong = result.output::<Vec<u32>>().unwrap_err();
    assert!(matches!(&wrong, Error::Output(_)), "{wrong:?}");
    assert!(std::error::Error::source(&wrong).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_idempotency_key_returns_existing_workflow() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let yaml = "workflow: wait\nsteps: [{ name: work, run: shop/work, compensate: none }]\n";
    conductor.apply("wait", yaml).await.unwrap();
    let start = |input: Value| Start::of("wait").input(input).unwrap().idempotency_key("one");
    let first = conductor.start(start(json!({"amount": 1}))).await.unwrap();
    let second = conductor.start(start(json!({"amount": 1}))).await.unwrap();
    assert_eq!(first.id(), second.id());
    let other = conductor.start(start(json!({"amount": 2}))).await;
    assert!(matches!(other, Err(Error::Call(CallError::Conflict(_)))), "{other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_definition_and_workflow_are_not_found() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let start = conductor.start(Start::of("missing")).await;
    assert!(matches!(start, Err(Error::Call(CallError::NotFound(_)))), "{start:?}");
    let handle = conductor.workflow("0199f0c8-0000-7000-8000-000000000000");
    let result = handle.result().await;
    assert!(matches!(result, Err(Error::Call(CallError::NotFound(_)))), "{result:?}");
    assert!(handle.describe().await.is_err());
    assert!(handle.watch().next().await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_definition_is_refused_with_all_problems() {
    let server = Server::start().await;
    let yaml = "workflow: wrong\nsteps: [{ name: A, run: shop/work }, { name: b, runs: shop/work }]\n";
    let applied = server.conductor().apply("wrong", yaml).await;
    let Err(Error::Call(CallError::Invalid(problem))) = applied else { panic!("{applied:?}") };
    assert!(problem.errors.len() > 1, "{problem:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_workflow_is_misuse() {
    let server = Server::start().await;
    let empty = server.conductor().start_workflow(&Workflow::new("Empty"), json!({})).await;
    assert!(matches!(empty, Err(Error::Misuse(_))), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_workflow_cancels_its_attempt_and_rolls_back() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let workflow = one_step(|step| async move {
        step.cancelled().await;
        assert!(step.is_cancelled());
        Err(ActionError::refused("CANCELLED", "the attempt was cancelled"))
    });
    let handle = conductor.start_workflow(&workflow, json!({})).await.unwrap();
    wait_for(&handle, &Status::InProgress).await;
    handle.cancel("the customer changed their mind").await.unwrap();
    assert_eq!(handle.result().await.unwrap().status, Status::RolledBack);
    let again = handle.cancel("again").await;
    assert!(matches!(again, Err(Error::Call(CallError::Conflict(_)))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_is_refused_while_signals_are_not_supported() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let handle = conductor.start_workflow(&one_step(|_| async { Ok(Value::Null) }), json!({})).await.unwrap();
    handle.result().await.unwrap();
    let signal = handle.signal("approved", &json!(true)).await;
    assert!(matches!(signal, Err(Error::Call(_))), "{signal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_returns_all_events_in_order() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let handle = conductor.start_workflow(&one_step(|_| async { Ok(json!(1)) }), json!({})).await.unwrap();
    let mut events = handle.watch();
    let mut seqs = Vec::new();
    while let Some(event) = events.next().await {
        seqs.push(event.unwrap().seq);
    }
    let expected: Vec<u64> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    assert!(handle.describe().await.unwrap().status.is_final());
}

#[test]
fn invalid_gateway_url_is_refused() {
    for url in ["", "not a url", "ftp://127.0.0.1"] {
        let connected = goconductor::Conductor::connect(url);
        assert!(matches!(connected, Err(Error::Call(CallError::Address { .. }))), "{url:?}: {connected:?}");
    }
}
