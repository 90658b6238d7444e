//! Messages between the runner and the driver.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// A request of the runner.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum RunnerRequest {
    Hello,
    Serve(ServeRequest),
    Drain,
    Release { gate: String },
    Effects,
    Client(ClientRequest),
}

/// A request to serve the actions of a scenario.
#[derive(Debug, Deserialize)]
pub(crate) struct ServeRequest {
    pub(crate) gateway: String,
    pub(crate) namespace: String,
    /// `None` to discover the executors.
    pub(crate) executors: Option<Vec<String>>,
    pub(crate) service: String,
    pub(crate) capacity: u32,
    pub(crate) limits: Option<BTreeMap<String, u32>>,
    /// The scripts of each action, by attempt.
    pub(crate) actions: BTreeMap<String, Vec<Vec<Instruction>>>,
    pub(crate) database: PathBuf,
    #[serde(default)]
    pub(crate) broken: Defect,
    /// Attempts are not reported.
    #[serde(default)]
    pub(crate) quiet: bool,
}

/// The defect of a driver that must fail the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Defect {
    #[default]
    #[serde(rename = "")]
    None,
    NoHeartbeat,
    NewKeyOnRetry,
    InboxWithoutTombstone,
}

/// An instruction of a script.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Instruction {
    Sleep {
        sleep_ms: u64,
        /// 0 to send no heartbeats.
        #[serde(default)]
        heartbeat_ms: u64,
    },
    Interlude(Interlude),
    End(Ending),
}

/// An instruction that others follow.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Interlude {
    Gate(String),
    AwaitCancel(bool),
    Detached(bool),
    Die(bool),
}

/// The last instruction of a script.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Done(Value),
    Echo(bool),
    OutputBytes(usize),
    Retry(ScriptedFailure),
    Refuse(ScriptedFailure),
    Unknown(ScriptedFailure),
    Error(String),
    Panic(String),
    Inbox(InboxStep),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ScriptedFailure {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) after_ms: u64,
    pub(crate) detail: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct InboxStep {
    #[serde(default)]
    pub(crate) output: Value,
    /// Ends the process by SIGKILL after the commit.
    #[serde(default)]
    pub(crate) die: bool,
    /// `lost` if the attempt ends with an unknown outcome after the commit.
    pub(crate) answer: Option<String>,
}

/// A request to call the client of the SDK.
#[derive(Debug, Deserialize)]
pub(crate) struct ClientRequest {
    pub(crate) gateway: String,
    pub(crate) namespace: String,
    #[serde(flatten)]
    pub(crate) call: ClientCall,
}

/// A call of the client.
#[derive(Debug, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(crate) enum ClientCall {
    Apply { name: String, definition: String },
    Start(StartCall),
    Result { workflow: String },
    Describe { workflow: String },
    Signal { workflow: String, name: String, input: Option<Value> },
    Cancel { workflow: String, reason: String },
    Watch { workflow: String },
    List { filter: String },
    PutSchedule { name: String, definition: String, cron: String, input: Option<Value> },
    GetSchedule { name: String },
    PauseSchedule { name: String, reason: String },
    TriggerSchedule { name: String },
    DeleteSchedule { name: String },
}

#[derive(Debug, Deserialize)]
pub(crate) struct StartCall {
    pub(crate) name: String,
    pub(crate) input: Option<Value>,
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Writes a message to the runner. Messages of concurrent actions do not mix.
pub(crate) fn write(message: &Value) {
    let line = format!("{message}\n");
    // A runner that has ended does not read.
    std::io::stdout().lock().write_all(line.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(message: Value) -> RunnerRequest {
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn scripts_are_read() {
        let script = json!([
            {"sleep_ms": 2000, "heartbeat_ms": 150}, {"sleep_ms": 5}, {"detached": true}, {"gate": "late"},
            {"done": null}, {"done": 9_223_372_036_854_775_807_i64}, {"inbox": {}},
            {"retry": {"code": "BUSY", "message": "later", "after_ms": 1500}},
        ]);
        let script: Vec<Instruction> = serde_json::from_value(script).unwrap();
        let failure =
            ScriptedFailure { code: "BUSY".into(), message: "later".into(), after_ms: 1500, detail: None };
        let expected = [
            Instruction::Sleep { sleep_ms: 2000, heartbeat_ms: 150 },
            Instruction::Sleep { sleep_ms: 5, heartbeat_ms: 0 },
            Instruction::Interlude(Interlude::Detached(true)),
            Instruction::Interlude(Interlude::Gate("late".into())),
            Instruction::End(Ending::Done(Value::Null)),
            Instruction::End(Ending::Done(json!(9_223_372_036_854_775_807_i64))),
            Instruction::End(Ending::Inbox(InboxStep { output: Value::Null, die: false, answer: None })),
            Instruction::End(Ending::Retry(failure)),
        ];
        assert_eq!(script, expected);
        assert!(serde_json::from_value::<Instruction>(json!({"dance": true})).is_err());
    }

    #[test]
    fn requests_are_read() {
        assert!(matches!(read(json!({"id": 1, "op": "hello"})), RunnerRequest::Hello));
        let serve = read(json!({
            "id": 2, "op": "serve", "gateway": "http://127.0.0.1:1", "namespace": "n", "service": "shop",
            "capacity": 16, "limits": null, "actions": {"charge": [[{"echo": true}]]}, "database": "a.db",
            "broken": "inbox-without-tombstone",
        }));
        let RunnerRequest::Serve(serve) = serve else { panic!("{serve:?}") };
        assert_eq!(
            (serve.broken, serve.executors, serve.quiet),
            (Defect::InboxWithoutTombstone, None, false)
        );
        assert_eq!(serve.actions["charge"], [[Instruction::End(Ending::Echo(true))]]);
        let client = read(json!({
            "id": 3, "op": "client", "gateway": "g", "namespace": "n", "call": "start", "name": "order",
            "input": {"n": 1},
        }));
        let RunnerRequest::Client(ClientRequest { call: ClientCall::Start(start), .. }) = client else {
            panic!("{client:?}")
        };
        assert_eq!((start.name.as_str(), start.input, start.key), ("order", Some(json!({"n": 1})), None));
    }
}
