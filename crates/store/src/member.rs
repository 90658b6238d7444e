//! Membership: the running processes of a system and what they publish about themselves.

use goconductor_saga::{Json, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The data that a process publishes about itself with each heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// A random identity, new at each boot.
    pub instance: String,
    /// `api-gateway`, `state-store`, `saga-executor` or `leader-elector`.
    pub kind: String,
    /// The address that the process listens on; empty if it does not listen.
    pub address: String,
    /// Details that other processes act on.
    pub info: ProcessInfo,
    /// The membership expires after this time unless the process renews it. Zero ends it immediately.
    pub ttl: Duration,
}

/// A process whose membership has not expired.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The newest announcement of the process.
    pub announcement: Announcement,
    /// The time of the first announcement, by the database's clock.
    pub since: Timestamp,
    /// The time of the newest announcement, by the database's clock.
    pub seen_at: Timestamp,
}

/// Details of a process: the services it serves and the queues it uses.
///
/// The stored form is JSON. Reading never fails: a process of another release may write keys that this release
/// does not know, which are kept in `other`, and may omit or change keys that it does know, which then have
/// their defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Json")]
pub struct ProcessInfo {
    /// The services that the process serves; `None` if the process is not an executor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServedService>>,
    /// The names of the only services that an executor accepts workers for; empty if it accepts all. `None` if
    /// the process is not an executor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// The queues of the process; `None` if it uses no queue or its release does not support queue migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueView>,
    /// The configuration of the process; `None` if its release does not know settings of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<AppliedConfig>,
    /// The election backend of the process; `None` if it has none, or if its release cannot move it while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election: Option<ElectionView>,
    /// The release of the process; `None` if it is older than this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// A service that an executor serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServedService {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// Execute commands that the executor can have in flight.
    pub executes: usize,
    /// Compensate commands that the executor can have in flight.
    pub compensations: usize,
    /// The transport: `http` or `workers`. Empty if unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// The backlogs of the actions that have a concurrency limit.
    pub actions: Vec<ActionBacklog>,
    /// Connected workers.
    pub workers: usize,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// The backlog of an action that has a concurrency limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionBacklog {
    /// The name of the action.
    pub action: String,
    /// Execute commands that wait for a permit.
    pub waiting: u64,
}

/// The queues that a process uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueView {
    /// The revision of the queue migration that the process has applied.
    pub applied: u64,
    /// The queues that the configuration of the process says how to reach.
    pub backends: Vec<String>,
    /// Whether the process has been unable to reach the old queue for so long that it considers it lost.
    pub has_lost_old: bool,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// The dynamic settings that a process uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedConfig {
    /// The version of the settings that are in effect, except for the pending ones. 0 if the settings were never changed.
    pub version: u64,
    /// The newest version that the process knows.
    pub seen: u64,
    /// The settings that take effect when the process is restarted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PendingSetting>,
    /// The reason why the newest version is not in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// The election backend that a process uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ElectionView {
    /// The name of the backend, such as `etcd`.
    pub backend: String,
    /// The era of the terms that the process can hold. Its terms of all lower eras have ended.
    pub era: u8,
    /// The reason why the process does not use the newest settings of the election.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Keys of other releases.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Json>,
}

/// A setting that takes effect when the process is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSetting {
    /// The dotted path of the setting.
    pub setting: String,
    /// The time of the first change that is not in effect, by the clock of the process, in microseconds.
    pub since: Timestamp,
}

impl ProcessInfo {
    /// The services that the process serves, without those that have no name.
    pub fn served(&self) -> impl Iterator<Item = &ServedService> {
        let named = |served: &&ServedService| !served.namespace.is_empty() && !served.service.is_empty();
        self.services.iter().flatten().filter(named)
    }

    /// Whether an executor accepts workers of a service.
    #[must_use]
    pub fn accepts(&self, service: &str) -> bool {
        let only = self.only.as_deref().unwrap_or_default();
        only.is_empty() || only.iter().any(|each| each == service)
    }
}

impl From<Json> for ProcessInfo {
    fn from(value: Json) -> Self {
        let Json::Object(mut fields) = value else { return Self::default() };
        Self {
            services: fields.remove("services").and_then(readable_entries),
            only: fields.remove("only").and_then(readable_entries),
            queue: fields.remove("queue").and_then(|queue| serde_json::from_value(queue).ok()),
            config: fields.remove("config").and_then(|config| serde_json::from_value(config).ok()),
            election: fields.remove("election").and_then(|election| serde_json::from_value(election).ok()),
            release: fields.remove("release").and_then(|release| serde_json::from_value(release).ok()),
            other: fields,
        }
    }
}

/// The entries of an array that can be read. `None` if the value is not an array.
fn readable_entries<T: DeserializeOwned>(value: Json) -> Option<Vec<T>> {
    let Json::Array(entries) = value else { return None };
    Some(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The JSON of an executor of release 9ed9dd1.
    const EXECUTOR: &str = concat!(
        r#"{"only":["payments"],"queue":{"applied":3,"backends":["kafka","nats"],"has_lost_old":true},"#,
        r#""services":[{"actions":[{"action":"charge","waiting":7}],"by":"workers","compensations":32,"#,
        r#""executes":64,"namespace":"default","service":"payments","workers":2}]}"#
    );

    fn executor() -> ProcessInfo {
        let payments = ServedService {
            namespace: "default".to_owned(),
            service: "payments".to_owned(),
            executes: 64,
            compensations: 32,
            by: "workers".to_owned(),
            actions: vec![ActionBacklog { action: "charge".to_owned(), waiting: 7 }],
            workers: 2,
            ..ServedService::default()
        };
        let queue = QueueView {
            applied: 3,
            backends: vec!["kafka".to_owned(), "nats".to_owned()],
            has_lost_old: true,
            ..QueueView::default()
        };
        ProcessInfo {
            services: Some(vec![payments]),
            only: Some(vec!["payments".to_owned()]),
            queue: Some(queue),
            ..ProcessInfo::default()
        }
    }

    #[test]
    fn process_info_of_previous_release_is_read_and_written_unchanged() {
        let cases = [
            (EXECUTOR, executor()),
            // A state store, and an executor that serves nothing yet.
            ("{}", ProcessInfo::default()),
            (
                r#"{"only":[],"services":[]}"#,
                ProcessInfo { services: Some(vec![]), only: Some(vec![]), ..ProcessInfo::default() },
            ),
        ];
        for (text, info) in cases {
            assert_eq!(serde_json::from_str::<ProcessInfo>(text).unwrap(), info);
            assert_eq!(json!(info).to_string(), text);
        }
    }

    #[test]
    fn unknown_absent_and_unreadable_keys_are_tolerated() {
        let read = |value: Json| ProcessInfo::from(value);
        assert_eq!(read(Json::Null), ProcessInfo::default());
        assert_eq!(read(json!({"services": 1, "only": "x", "queue": []})), ProcessInfo::default());
        let newer = json!({
            "zone": "b",
            "queue": {"applied": 1, "backends": [], "has_lost_old": false, "lag": 5},
            "services": [{"namespace": "n", "service": "s", "executes": 1, "compensations": 1, "actions": [],
                "workers": 0, "cost": 2}],
        });
        assert_eq!(json!(read(newer.clone())), newer, "keys of a newer release are kept");
        let partial = read(json!({"services": [{"namespace": "n", "service": "s"}, {"odd": 1}, 5]}));
        let names: Vec<_> = partial.served().map(|served| (&*served.service, served.executes)).collect();
        assert_eq!(names, [("s", 0)]);
    }

    #[test]
    fn executor_accepts_all_services_unless_it_names_some() {
        assert!(ProcessInfo::default().accepts("stock"));
        assert!(ProcessInfo { only: Some(Vec::new()), ..ProcessInfo::default() }.accepts("stock"));
        assert!(executor().accepts("payments"));
        assert!(!executor().accepts("stock"));
    }
}
