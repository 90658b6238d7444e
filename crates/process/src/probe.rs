//! Connects to the brokers and backends that a configuration names, before the configuration is used.

use crate::election;
use crate::queues::{ConfiguredQueues, queue_of};
use goconductor_queue_migration::QueueFactory;
use goconductor_service_kit::config::{Config, QueueBackend, changed_settings};
use goconductor_store::ShardLeaseStore;
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Timeout for a broker or a backend to respond. All of them are contacted at the same time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A broker or a backend that does not respond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// The dotted path of the setting that names it.
    pub setting: &'static str,
    /// The failure, with the address and the cause.
    pub reason: String,
}

/// Connects to each queue and to the election backend whose settings differ between two documents of the API. `config` is
/// the configuration with the new document. Sends no message, and campaigns in no election.
pub async fn probe(
    config: &Config,
    current: &Value,
    new: &Value,
    store: Arc<dyn ShardLeaseStore>,
) -> Vec<ProbeFailure> {
    let changed = changed_settings(current, new);
    let is_below = |section: &str| changed.iter().any(|path| path.starts_with(section));
    let queues: Vec<QueueBackend> = QueueBackend::ALL
        .iter()
        .map(|(_, backend)| *backend)
        .filter(|backend| {
            let is_named =
                changed.iter().any(|path| path == "queue.backend") && config.queue.backend == *backend;
            is_named || changed.iter().any(|path| queue_of(path) == Some(*backend))
        })
        // A section that does not name its brokers is not a queue.
        .filter(|backend| config.queue.is_configured(*backend))
        .collect();
    let probed = queues.into_iter().map(|backend| probe_queue(config, backend, Arc::clone(&store)));
    let queues = futures::future::join_all(probed);
    let election = async { if is_below("election.") { probe_election(config).await } else { None } };
    let (queues, election) = tokio::join!(queues, election);
    queues.into_iter().flatten().chain(election).collect()
}

async fn probe_queue(
    config: &Config,
    backend: QueueBackend,
    store: Arc<dyn ShardLeaseStore>,
) -> Option<ProbeFailure> {
    let setting = match backend {
        QueueBackend::Memory => "queue.backend",
        QueueBackend::Kafka => "queue.brokers",
        QueueBackend::Kinesis => "queue.kinesis",
        QueueBackend::Nats => "queue.nats.servers",
        QueueBackend::RabbitMq => "queue.rabbitmq.hosts",
    };
    let queues = ConfiguredQueues {
        default: backend,
        config: RwLock::new(config.queue.clone()),
        store,
        identity: format!("probe-{}", uuid::Uuid::now_v7().simple()),
    };
    let failed =
        |reason: String| Some(ProbeFailure { setting, reason: format!("{}: {reason}", backend.name()) });
    if let Some(reason) = connect_failure(hosts_of(config, backend)).await {
        return failed(reason);
    }
    let queue = match queues.open(backend.name()) {
        Ok(queue) => queue,
        Err(error) => return failed(error.report()),
    };
    match tokio::time::timeout(PROBE_TIMEOUT, queue.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => failed(error.report()),
        Err(_) => failed(timed_out()),
    }
}

async fn probe_election(config: &Config) -> Option<ProbeFailure> {
    let failed = |reason: String| Some(ProbeFailure { setting: "election", reason });
    if let Some(reason) = connect_failure(&config.election.settings.endpoints).await {
        return failed(reason);
    }
    let connecting = async {
        let election = election::open(config).await?;
        election.list().await.map(drop)
    };
    match tokio::time::timeout(PROBE_TIMEOUT, connecting).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => failed(report(&error)),
        Err(_) => failed(timed_out()),
    }
}

/// Returns the addresses of a queue. Returns none if its driver chooses the address.
fn hosts_of(config: &Config, backend: QueueBackend) -> &[String] {
    let queue = &config.queue;
    let hosts = match backend {
        QueueBackend::Memory | QueueBackend::Kinesis => None,
        QueueBackend::Kafka => queue.kafka.as_ref().map(|settings| &settings.brokers),
        QueueBackend::Nats => queue.nats.as_ref().map(|settings| &settings.servers),
        QueueBackend::RabbitMq => queue.rabbitmq.as_ref().map(|settings| &settings.hosts),
    };
    hosts.map(Vec::as_slice).unwrap_or_default()
}

/// Returns why no connection to any of the addresses can be established. Some drivers only report that no server
/// responded.
async fn connect_failure(hosts: &[String]) -> Option<String> {
    let attempts = hosts.iter().map(|host| async move {
        let failed = |reason: String| format!("failed to connect to {host}: {reason}");
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(host)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no response within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    });
    let results = futures::future::join_all(attempts).await;
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    let all_failed = !hosts.is_empty() && failures.len() == hosts.len();
    all_failed.then(|| failures.join("; "))
}

fn timed_out() -> String {
    format!("no response within {} s", PROBE_TIMEOUT.as_secs())
}

/// Returns an error and its causes in one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::{DynamicSettings, Sources};
    use goconductor_store::sqlite::SqliteStore;
    use serde_json::json;

    async fn failures(settings: Value) -> Vec<ProbeFailure> {
        let base = Config::load(&Sources::default()).expect("the defaults are valid");
        let dynamic = DynamicSettings { version: 1, settings: settings.clone() };
        let config = base.with_dynamic(Some(dynamic)).expect("the settings are valid");
        let store = Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        probe(&config, &json!({}), &settings, store).await
    }

    #[tokio::test]
    async fn unreachable_brokers_and_backends_are_named_with_the_cause() {
        // The port is free: it was just bound, and nothing listens on it any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        for (settings, setting) in [
            (json!({"queue": {"backend": "nats", "nats": {"servers": [address]}}}), "queue.nats.servers"),
            (json!({"queue": {"nats": {"servers": [address]}}}), "queue.nats.servers"),
            (json!({"queue": {"brokers": [address]}}), "queue.brokers"),
            (json!({"election": {"backend": "etcd", "endpoints": [address]}}), "election"),
            (json!({"election": {"backend": "zookeeper", "endpoints": [address]}}), "election"),
        ] {
            let failures = failures(settings.clone()).await;
            let [failure] = failures.as_slice() else { panic!("{settings}: {failures:?}") };
            assert_eq!(failure.setting, setting, "{settings}");
            let reason = failure.reason.to_lowercase();
            assert!(reason.contains(&address) && reason.contains("refused"), "{settings}: {reason}");
        }
    }

    #[tokio::test]
    async fn unchanged_backends_are_not_contacted() {
        for settings in [json!({"limits": {"page_size": 3}}), json!({"queue": {"partitions": 3}})] {
            assert!(failures(settings).await.is_empty());
        }
    }
}
