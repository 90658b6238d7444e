//! Data that an earlier release stored: workflows in every state that a release can stop in.
//!
//! The binary `store-fixtures` runs a release and leaves its data below [`FIXTURES`]; the test `stored` opens that data
//! with the present release and expects each workflow to end as [`CASES`] states.

use crate::{Api, Participants};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// The folder of the stored data, one folder for each release.
pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// The services of the definitions.
pub const SERVICES: [&str; 3] = ["stock", "payments", "shipping"];

/// A service that is not registered when the data is stored.
pub const ABSENT_SERVICE: &str = "couriers";

/// One workflow of the stored data.
#[derive(Debug, Clone, Copy)]
pub struct StoredCase {
    /// The idempotency key of its start, by which the test finds it.
    pub key: &'static str,
    /// Its definition.
    pub definition: &'static str,
    /// The script of the participants while the data is stored, as JSON.
    pub script: &'static str,
    /// The call of an operator while the data is stored, below `/workflows/{id}/`.
    pub before: Option<&'static str>,
    /// The state when the release is stopped: a status of the workflow, and a step with its status.
    pub stopped: (&'static str, Option<(&'static str, &'static str)>),
    /// The call of an operator after the data is opened.
    pub after: Option<&'static str>,
    /// The status at the end, and its cause.
    pub ended: (&'static str, Option<&'static str>),
}

const ORDER: &str = "stored-order";
const PIVOT: &str = "stored-pivot";
const LIMITED: &str = "stored-limited";
const ABSENT: &str = "stored-absent";

/// Every workflow of the stored data.
pub const CASES: &[StoredCase] = &[
    case("completed", ORDER, "{}", ("COMPLETED", None), ("COMPLETED", None)),
    case(
        "rolled-back",
        ORDER,
        r#"{"ship": "refuse"}"#,
        ("ROLLED_BACK", Some(("reserve", "COMPENSATED"))),
        ("ROLLED_BACK", Some("STEP_FAILED")),
    ),
    case(
        "running",
        ORDER,
        r#"{"charge": "hang"}"#,
        ("IN_PROGRESS", Some(("charge", "IN_PROGRESS"))),
        ("COMPLETED", None),
    ),
    case(
        "waiting",
        ORDER,
        r#"{"charge": "busy"}"#,
        ("IN_PROGRESS", Some(("charge", "RETRYING"))),
        ("COMPLETED", None),
    ),
    case("without-a-worker", ABSENT, "{}", ("IN_PROGRESS", Some(("deliver", "QUEUED"))), ("COMPLETED", None)),
    case(
        "in-doubt",
        ORDER,
        r#"{"charge": "fail"}"#,
        ("IN_PROGRESS", Some(("charge", "RETRYING"))),
        ("COMPLETED", None),
    ),
    case(
        "pivot-in-doubt",
        PIVOT,
        r#"{"charge": "fail"}"#,
        ("IN_PROGRESS", Some(("charge", "RETRYING"))),
        ("COMPLETED", None),
    ),
    case(
        "rolling-back",
        ORDER,
        r#"{"ship": "refuse", "refund": "busy"}"#,
        ("ROLLING_BACK", Some(("charge", "COMPENSATION_RETRYING"))),
        ("ROLLED_BACK", Some("STEP_FAILED")),
    ),
    StoredCase {
        before: Some("cancel"),
        ..case(
            "cancelled-in-flight",
            ORDER,
            r#"{"charge": "hang"}"#,
            ("ROLLING_BACK", Some(("charge", "IN_PROGRESS"))),
            ("ROLLED_BACK", Some("CANCELLED")),
        )
    },
    StoredCase {
        before: Some("pause"),
        after: Some("resume"),
        ..case(
            "paused",
            ORDER,
            r#"{"charge": "busy"}"#,
            ("PAUSED", Some(("charge", "RETRYING"))),
            ("COMPLETED", None),
        )
    },
    StoredCase {
        after: Some("steps/charge/retry"),
        ..case(
            "in-error",
            LIMITED,
            r#"{"ship": "refuse", "refund": "busy"}"#,
            ("ERROR", Some(("charge", "COMPENSATION_FAILED"))),
            ("ROLLED_BACK", Some("STEP_FAILED")),
        )
    },
];

const fn case(
    key: &'static str,
    definition: &'static str,
    script: &'static str,
    stopped: (&'static str, Option<(&'static str, &'static str)>),
    ended: (&'static str, Option<&'static str>),
) -> StoredCase {
    StoredCase { key, definition, script, before: None, stopped, after: None, ended }
}

/// The definitions, by name. Delays outlast the time that it takes to store the data. They are short, because the test
/// waits for one of them: the stored addresses of the services have no server.
const DEFINITIONS: [(&str, &str); 4] = [
    (
        ORDER,
        "
workflow: stored-order
defaults: { retry: { initial: 20s, max: 20s }, timeout: 30s }
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release }
  - { name: charge, run: payments/charge, compensate: { run: payments/refund, retry: { initial: 20s, max: 20s } } }
  - { name: ship, run: shipping/ship, compensate: none }
output: { shipped: \"${ steps.ship.output.action }\" }
",
    ),
    (
        PIVOT,
        "
workflow: stored-pivot
defaults: { retry: { initial: 20s, max: 20s, max_attempts: 1 } }
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release }
  - { name: charge, run: payments/charge, kind: pivot }
  - { name: ship, run: shipping/ship, kind: retriable }
",
    ),
    (
        LIMITED,
        "
workflow: stored-limited
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release }
  - { name: charge, run: payments/charge, compensate: { run: payments/refund, retry: none } }
  - { name: ship, run: shipping/ship, compensate: none }
",
    ),
    (
        ABSENT,
        "
workflow: stored-absent
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release }
  - { name: deliver, run: couriers/deliver, compensate: none }
",
    ),
];

/// Starts every workflow of [`CASES`] and returns when each is in its state.
///
/// # Errors
/// Returns an error if a call fails or a workflow does not reach its state.
pub async fn prepare(api: &Api, participants: &Participants) -> anyhow::Result<()> {
    for service in SERVICES {
        api.serve(service, &participants.url(service)).await?;
    }
    for (name, yaml) in DEFINITIONS {
        api.apply(name, yaml).await?;
    }
    for case in CASES {
        let id = start(api, case).await?;
        if let Some(call) = case.before {
            await_step(api, &id, case).await?;
            operate(api, &id, call).await?;
        }
        await_step(api, &id, case).await?;
        await_status(api, &id, case).await?;
    }
    Ok(())
}

/// Starts the workflow of a case, or returns the id of the workflow that its key started before.
///
/// # Errors
/// Returns an error if the start is refused.
pub async fn start(api: &Api, case: &StoredCase) -> anyhow::Result<String> {
    let script: Value = serde_json::from_str(case.script).context("a script is JSON")?;
    api.start(case.definition, json!({"script": script}), Some(case.key)).await
}

/// Makes the call of an operator for a workflow.
///
/// # Errors
/// Returns an error if the call is refused.
pub async fn operate(api: &Api, id: &str, call: &str) -> anyhow::Result<()> {
    let body = json!({"reason": "stored data"});
    match api.send("POST", &format!("/workflows/{id}/{call}"), Some(body)).await? {
        (200, _) => Ok(()),
        (status, body) => bail!("failed to {call} workflow {id}: {status} {body}"),
    }
}

async fn await_step(api: &Api, id: &str, case: &StoredCase) -> anyhow::Result<()> {
    let Some((step, status)) = case.stopped.1 else { return Ok(()) };
    await_view(api, id, &format!("{step}={status}"), |view| {
        let steps = view.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
        let has = |value: &Value, key: &str, text: &str| value.get(key).and_then(Value::as_str) == Some(text);
        steps.iter().any(|each| has(each, "name", step) && has(each, "status", status))
    })
    .await
}

async fn await_status(api: &Api, id: &str, case: &StoredCase) -> anyhow::Result<()> {
    let status = case.stopped.0;
    await_view(api, id, status, |view| view.get("status").and_then(Value::as_str) == Some(status)).await
}

async fn await_view(
    api: &Api,
    id: &str,
    state: &str,
    reached: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    for _ in 0..500 {
        if reached(&api.get(&format!("/workflows/{id}")).await?) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("workflow {id} did not reach {state}: {:#}", api.get(&format!("/workflows/{id}")).await?)
}
