//! The actions, which run the scripts of the scenario.

use crate::crash::die;
use crate::participant::ParticipantDatabase;
use crate::protocol::{Defect, Ending, Instruction, Interlude, ScriptedFailure, write};
use goconductor::{ActionError, Context};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

/// The interval of heartbeats that are not sent: longer than any script.
const NEVER: Duration = Duration::from_secs(3600);

/// The gates at which scripts wait, by name. An open gate is a cancelled token.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    by_name: Mutex<BTreeMap<String, CancellationToken>>,
}

impl Gates {
    /// Opens a gate for good.
    pub(crate) fn open(&self, name: &str) {
        self.gate(name).cancel();
    }

    fn gate(&self, name: &str) -> CancellationToken {
        self.by_name.lock().entry(name.to_owned()).or_default().clone()
    }
}

/// Runs the scripts of the actions.
#[derive(Debug)]
pub(crate) struct ScriptRunner {
    pub(crate) gates: std::sync::Arc<Gates>,
    pub(crate) database: ParticipantDatabase,
    pub(crate) defect: Defect,
    /// Attempts are not reported.
    pub(crate) quiet: bool,
}

impl ScriptRunner {
    /// Runs the script of an attempt. Reports the call before it, and the outcome after it, unless quiet.
    pub(crate) async fn attempt(
        &self,
        scripts: &[Vec<Instruction>],
        context: &Context,
        input: Value,
    ) -> Result<Value, ActionError> {
        let number = usize::try_from(context.attempt()).unwrap_or(usize::MAX);
        let script = scripts.get(number.saturating_sub(1)).or(scripts.last());
        let script = script.map(Vec::as_slice).unwrap_or_default();
        if self.quiet {
            return self.run(script, context, input).await;
        }
        self.report_call(context, &input);
        let result = self.run(script, context, input).await;
        let (outcome, code) = match &result {
            Ok(_) => ("done", None),
            Err(ActionError::Retryable { code, .. }) => ("retryable", Some(code)),
            Err(ActionError::Refused { code, .. }) => ("refused", Some(code)),
            Err(ActionError::Unknown { code, .. }) => ("unknown", Some(code)),
        };
        write(&json!({
            "event": "returned", "action": context.action(), "attempt": context.attempt(),
            "outcome": outcome, "code": code,
        }));
        result
    }

    fn report_call(&self, context: &Context, input: &Value) {
        write(&json!({
            "event": "call",
            "action": context.action(),
            "step": context.step(),
            "workflow_id": context.workflow_id(),
            "operation": context.operation().as_str(),
            "attempt": context.attempt(),
            "key": self.key(context),
            "input": input,
            "time_left_ms": milliseconds(context.time_left()),
            "heartbeat_timeout_ms": context.heartbeat_timeout().map_or(0, milliseconds),
            "lock_tokens": context.lock_tokens(),
            "traceparent": context.traceparent(),
        }));
    }

    /// Returns the idempotency key. The driver that is broken in this way has another one for each attempt.
    fn key(&self, context: &Context) -> String {
        match (self.defect, context.key().split_once('/')) {
            (Defect::NewKeyOnRetry, Some((workflow, rest))) if context.attempt() > 1 => {
                format!("{workflow}x{}/{rest}", context.attempt())
            }
            _ => context.key().to_owned(),
        }
    }

    async fn run(
        &self,
        script: &[Instruction],
        context: &Context,
        input: Value,
    ) -> Result<Value, ActionError> {
        let mut detached = false;
        for instruction in script {
            match instruction {
                Instruction::Sleep { sleep_ms, heartbeat_ms } => {
                    let (time, interval) = (duration(*sleep_ms), duration(*heartbeat_ms));
                    self.sleep(time, interval, context, detached).await;
                }
                Instruction::Interlude(Interlude::Gate(name)) => {
                    let gate = self.gates.gate(name);
                    // Cancel-safe: both arms only wait.
                    tokio::select! {
                        () = gate.cancelled() => {}
                        () = cancelled(context, detached) => {}
                    }
                }
                Instruction::Interlude(Interlude::AwaitCancel(_)) => await_cancel(context, detached).await,
                Instruction::Interlude(Interlude::Detached(value)) => detached = *value,
                Instruction::Interlude(Interlude::Die(_)) => die(),
                Instruction::End(ending) => return self.end(ending, context, input).await,
            }
        }
        Err(ActionError::from_error("the script has no end"))
    }

    /// Runs the last instruction of a script.
    async fn end(&self, ending: &Ending, context: &Context, input: Value) -> Result<Value, ActionError> {
        match ending {
            Ending::Done(output) => Ok(output.clone()),
            Ending::Echo(_) => Ok(input),
            Ending::OutputBytes(bytes) => Ok(Value::String("x".repeat(bytes.saturating_sub(2)))),
            Ending::Retry(ScriptedFailure { code, message, after_ms: 0, .. }) => {
                Err(ActionError::retryable(code, message))
            }
            Ending::Retry(ScriptedFailure { code, message, after_ms, .. }) => {
                Err(ActionError::retry_after(code, message, duration(*after_ms)))
            }
            Ending::Refuse(ScriptedFailure { code, message, detail, .. }) => {
                let (code, message) = (code.clone(), message.clone());
                Err(ActionError::Refused { code, message, detail: detail.clone() })
            }
            Ending::Unknown(ScriptedFailure { code, message, .. }) => {
                Err(ActionError::unknown(code, message))
            }
            Ending::Error(message) => Err(ActionError::from_error(message.as_str())),
            Ending::Panic(message) => std::panic::resume_unwind(Box::new(message.clone())),
            Ending::Inbox(step) => self.database.run(&self.key(context), context, step).await,
        }
    }

    /// Waits, and sends heartbeats unless the driver is broken in this way.
    async fn sleep(&self, time: Duration, interval: Duration, context: &Context, detached: bool) {
        let sends = !interval.is_zero() && self.defect != Defect::NoHeartbeat;
        let interval = if sends { interval } else { NEVER };
        let mut heartbeats = interval_at(Instant::now() + interval, interval);
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            // Cancel-safe: no arm loses a message.
            tokio::select! {
                _ = heartbeats.tick() => context.heartbeat(),
                () = &mut end => return,
                () = cancelled(context, detached) => return,
            }
        }
    }
}

/// Waits until the attempt is cancelled, and reports it.
async fn await_cancel(context: &Context, detached: bool) {
    let began = Instant::now();
    cancelled(context, detached).await;
    write(&json!({
        "event": "cancelled", "action": context.action(), "attempt": context.attempt(),
        "after_ms": milliseconds(began.elapsed()), "time_left_ms": milliseconds(context.time_left()),
    }));
}

/// Waits until the attempt is cancelled. Detached instructions do not notice it. Cancel-safe.
async fn cancelled(context: &Context, detached: bool) {
    if detached {
        std::future::pending::<()>().await;
    }
    context.cancelled().await;
}

fn duration(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
