//! A server with its participants, for tests of single workflows.

use goconductor_harness::{Call, Dev, DevOptions, Participants};
use serde_json::{Value, json};
use std::time::Duration;

/// The services of every world.
pub(crate) const SERVICES: [&str; 4] = ["a", "b", "c", "d"];

pub(crate) struct World {
    pub(crate) dev: Dev,
    pub(crate) participants: Participants,
    _folder: tempfile::TempDir,
}

/// A workflow that has ended.
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) view: Value,
    pub(crate) calls: Vec<Call>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_settings(&[]).await
    }

    pub(crate) async fn with_settings(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = settings.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
        let dev = Dev::start(folder.path(), DevOptions { args }).await.unwrap();
        let participants = Participants::start().await.unwrap();
        for service in SERVICES {
            dev.api.serve(service, &participants.url(service)).await.unwrap();
        }
        Self { dev, participants, _folder: folder }
    }

    /// Applies a definition. Its first line contains the name.
    pub(crate) async fn apply(&self, yaml: &str) -> String {
        let name =
            yaml.trim_start().lines().next().unwrap().trim_start_matches("workflow:").trim().to_owned();
        self.dev.api.apply(&name, yaml).await.unwrap();
        name
    }

    pub(crate) async fn start(&self, yaml: &str, script: Value) -> String {
        let name = self.apply(yaml).await;
        self.dev.api.start(&name, json!({"script": script}), None).await.unwrap()
    }

    pub(crate) async fn view(&self, id: &str) -> Value {
        self.dev.api.get(&format!("/workflows/{id}")).await.unwrap()
    }

    /// Runs a workflow to its end.
    pub(crate) async fn run(&self, yaml: &str, script: Value) -> Ended {
        let id = self.start(yaml, script).await;
        self.ended(&id).await
    }

    pub(crate) async fn ended(&self, id: &str) -> Ended {
        self.dev.api.ended(id, Duration::from_secs(20)).await.unwrap();
        let ended =
            Ended { id: id.to_owned(), view: self.view(id).await, calls: self.participants.calls_of(id) };
        self.check_history(id, &ended.view).await;
        ended
    }

    /// Waits until the view of a workflow meets a condition.
    pub(crate) async fn until(&self, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            let view = self.view(id).await;
            if holds(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} was not reached: {:#}", self.view(id).await)
    }

    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Value {
        self.until(id, status, |view| view["status"] == status).await
    }

    /// Makes the call of an operator and returns status and body.
    pub(crate) async fn verb(&self, id: &str, verb: &str, body: Value) -> (u16, Value) {
        self.dev.api.send("POST", &format!("/workflows/{id}/{verb}"), Some(body)).await.unwrap()
    }

    /// Checks that events are numbered 1…n without gaps and that n is the workflow's `seq`.
    async fn check_history(&self, id: &str, view: &Value) {
        let page = self.dev.api.get(&format!("/workflows/{id}/events?page_size=1000")).await.unwrap();
        let numbers: Vec<u64> =
            page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (1..=view["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, expected, "{page:#}");
    }
}

impl Ended {
    pub(crate) fn status(&self) -> &str {
        self.view["status"].as_str().unwrap()
    }

    pub(crate) fn cause(&self) -> &str {
        self.view["cause"].as_str().unwrap_or_default()
    }

    /// The status of each step, as `name=STATUS`.
    pub(crate) fn steps(&self) -> Vec<String> {
        steps(&self.view)
    }

    /// The calls in order, as `service/action`.
    pub(crate) fn actions(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.action.as_str()).collect()
    }

    pub(crate) fn step(&self, name: &str) -> &Value {
        step(&self.view, name)
    }
}

pub(crate) fn steps(view: &Value) -> Vec<String> {
    let steps = view["steps"].as_array().unwrap().iter();
    steps
        .map(|step| format!("{}={}", step["name"].as_str().unwrap(), step["status"].as_str().unwrap()))
        .collect()
}

pub(crate) fn step<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()
}
