//! The test kit: each fault at each side, with real actions.

use goconductor::testing::{Attempts, Fault, TestSaga};
use goconductor::{ActionError, Context, Operation, Service, Status, Workflow, WorkflowStep};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The effects of the actions by idempotency key. A repeated call has no further effect.
type Effects = Arc<Mutex<BTreeMap<String, u32>>>;

fn step(name: &str, effects: &Effects) -> WorkflowStep {
    let (execute, compensate) = (Arc::clone(effects), Arc::clone(effects));
    let record = |effects: &Effects, key: &str| {
        *effects.lock().unwrap().entry(key.to_owned()).or_default() += 1;
    };
    WorkflowStep::new(name)
        .execute(move |context| {
            record(&execute, context.key());
            async move { Ok(json!({"from": context.step()})) }
        })
        .compensate(move |context| {
            record(&compensate, context.key());
            async move { Ok(json!(null)) }
        })
}

fn three(effects: &Effects) -> Workflow {
    Workflow::new("Three").step(step("a", effects)).step(step("b", effects)).step(step("c", effects))
}

#[tokio::test]
async fn each_fault_at_each_step_ends_complete_or_rolled_back() {
    let effects = Effects::default();
    let workflow = three(&effects);
    for name in ["a", "b", "c"] {
        for fault in [
            Fault::Refuse,
            Fault::Fail,
            Fault::LoseRequest,
            Fault::LoseResponse,
            Fault::BreakConnection,
            Fault::TimeOut,
            Fault::Duplicate,
            Fault::Crash,
            Fault::Delay(Duration::from_secs(20)),
        ] {
            let run =
                TestSaga::of(&workflow).unwrap().inject(Attempts::execute(name), fault).run().await.unwrap();
            let expected = if fault == Fault::Refuse { Status::RolledBack } else { Status::Completed };
            run.assert_status(expected);
            run.assert_nothing_stands();
            let compensation = TestSaga::of(&workflow)
                .unwrap()
                .inject(Attempts::execute("c").every(), Fault::TimeOut)
                .inject(Attempts::compensate(name), fault)
                .run()
                .await
                .unwrap();
            if fault == Fault::Refuse {
                compensation.assert_status(Status::Error);
                assert_eq!(compensation.standing().first().map(String::as_str), Some("a"));
            } else {
                compensation.assert_status(Status::RolledBack);
                compensation.assert_executed(["a", "b"]);
                compensation.assert_compensated(["c", "b", "a"]);
            }
        }
    }
}

#[tokio::test]
async fn repeated_calls_have_the_same_key() {
    let effects = Effects::default();
    let saga = TestSaga::of(&three(&effects)).unwrap().inject(Attempts::execute("b"), Fault::Duplicate);
    let run = saga.run().await.unwrap();
    let calls: Vec<_> = run.calls().iter().filter(|call| call.step == "b").collect();
    let [first, second] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((&first.key, first.attempt, first.operation), (&second.key, 1, Operation::Execute));
    assert_eq!(effects.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn crash_after_each_transition_of_a_rollback_changes_nothing() {
    let effects = Effects::default();
    let saga = TestSaga::of(&three(&effects)).unwrap().inject(Attempts::execute("c").every(), Fault::Refuse);
    let runs = saga.crash_everywhere().await.unwrap();
    assert!(runs.len() > 5, "{}", runs.len());
    for run in runs {
        run.assert_status(Status::RolledBack);
        run.assert_nothing_stands();
    }
}

#[tokio::test]
async fn cancel_rolls_back_what_has_completed() {
    let effects = Effects::default();
    let run = TestSaga::of(&three(&effects)).unwrap().cancel_after("a").run().await.unwrap();
    run.assert_status(Status::RolledBack);
    assert_eq!(run.compensated().last().map(String::as_str), Some("a"));
}

#[tokio::test]
async fn thirty_days_take_less_than_a_second() {
    const DEFINITION: &str = "
workflow: slow
steps:
  - { name: wait, run: s/wait, compensate: none, retry: { max_attempts: 40, initial: 1d, max: 1d, jitter: 0 } }
";
    async fn wait(_: Context, _: Value) -> Result<Value, ActionError> {
        Ok(Value::Null)
    }
    let began = Instant::now();
    let saga = TestSaga::new(DEFINITION)
        .unwrap()
        .service(Service::new("s").action("wait", wait))
        .inject(Attempts::execute("wait").numbers(1..=31), Fault::Fail);
    let run = saga.run().await.unwrap();
    run.assert_status(Status::Completed);
    assert!(run.elapsed() > Duration::from_secs(30 * 86_400), "{:?}", run.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn mistakes_of_a_test_are_reported() {
    let effects = Effects::default();
    assert!(TestSaga::new("workflow: w").is_err());
    let unknown = TestSaga::of(&three(&effects)).unwrap().inject(Attempts::execute("d"), Fault::Fail);
    assert!(unknown.run().await.unwrap_err().to_string().contains("no step d"));
    let definition =
        "{\"workflow\": \"w\", \"steps\": [{\"name\": \"a\", \"run\": \"s/a\", \"compensate\": \"none\"}]}";
    let error = TestSaga::new(definition).unwrap().run().await.unwrap_err();
    assert!(error.to_string().contains("s/a"), "{error}");
}
