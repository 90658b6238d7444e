//! Creation of missing streams and consumer objects, and validation of existing ones.

use super::connector::{Connection, NatsConnector};
use super::options::StreamNames;
use crate::Error;
use crate::settings::nats::Settings;
use crate::topic_cache::TopicCache;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType};
use std::time::Duration;

/// The name of the one consumer object of each stream. All executors share it.
pub(super) const CONSUMER: &str = "executors";
/// The lease of a message (`ack_wait`): a message that is neither acknowledged nor renewed is delivered again after it.
const LEASE: Duration = Duration::from_secs(8);
/// The shortest lease that an existing consumer object may have: renewals need time.
const MIN_LEASE: Duration = Duration::from_secs(4);
/// How long the servers remember message ids. A publish is retried for less time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);
/// The maximum number of unacknowledged messages of a topic. Consumers acknowledge at once, so few are needed.
const MAX_ACK_PENDING: i64 = 10_000;
/// The maximum number of waiting requests for messages of a topic.
const MAX_WAITING: i64 = 2048;
/// The default number of replicas in a cluster.
const CLUSTER_REPLICAS: usize = 3;

/// The streams that are known to exist, each with the lease of its messages.
#[derive(Default)]
pub(super) struct NatsStreams {
    cache: TopicCache<Duration>,
}

impl NatsStreams {
    /// Forgets a stream that may have been deleted.
    pub(super) fn forget(&self, names: &StreamNames) {
        self.cache.forget(&names.stream);
    }

    /// Creates a stream and its consumer object, unless they exist. Returns the lease of the stream's messages.
    pub(super) async fn ensure(
        &self,
        connector: &NatsConnector,
        connection: &Connection,
        settings: &Settings,
        names: &StreamNames,
    ) -> Result<Duration, Error> {
        let ensure = || async {
            let stream = ensure_stream(connector, connection, settings, names).await?;
            ensure_consumer(connector, &stream, names).await
        };
        self.cache.get_or_create(&names.stream, None, ensure).await
    }
}

async fn ensure_stream(
    connector: &NatsConnector,
    connection: &Connection,
    settings: &Settings,
    names: &StreamNames,
) -> Result<stream::Stream, Error> {
    let stream = match connection.jetstream.get_stream(&names.stream).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                create_stream(connector, connection, settings, names).await?
            }
            GetStreamErrorKind::JetStream(error) => return Err(refused(names, error)),
            GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::InvalidStreamName => {
                // Servers without JetStream do not respond at all.
                let advice = "JetStream did not respond: check that the configuration of the servers enables it with \
                              `jetstream {}`";
                return Err(connector.unavailable(advice).with_source(error));
            }
        },
    };
    check_stream(&stream.cached_info().config, names)?;
    Ok(stream)
}

async fn create_stream(
    connector: &NatsConnector,
    connection: &Connection,
    settings: &Settings,
    names: &StreamNames,
) -> Result<stream::Stream, Error> {
    let is_cluster = connection.client.server_info().cluster.is_some();
    let config = stream_config(settings, names, is_cluster);
    let replicas = config.num_replicas;
    let error = match connection.jetstream.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(stream = names.stream, replicas, "NATS stream created");
            return Ok(stream);
        }
        Err(error) => error,
    };
    if let CreateStreamErrorKind::JetStream(error) = error.kind() {
        if error.error_code() != ErrorCode::STREAM_NAME_EXIST {
            return Err(refused(names, error));
        }
        // Another process has created it since, possibly with other settings.
        let stream = connection.jetstream.get_stream(&names.stream).await;
        return stream
            .map_err(|error| connector.unavailable("failed to look up a stream").with_source(error));
    }
    Err(connector.unavailable("failed to create a stream").with_source(error))
}

fn stream_config(settings: &Settings, names: &StreamNames, is_cluster: bool) -> stream::Config {
    let default = if is_cluster { CLUSTER_REPLICAS } else { 1 };
    let replicas = settings.replication.and_then(|count| usize::try_from(count).ok());
    stream::Config {
        name: names.stream.clone(),
        description: Some("commands of GoConductor".to_owned()),
        subjects: vec![names.subject.clone()],
        retention: RetentionPolicy::WorkQueue,
        // If an operator adds limits later, new messages are refused and stored ones are kept.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas.unwrap_or(default),
        duplicate_window: DUPLICATE_WINDOW,
        ..stream::Config::default()
    }
}

/// Checks that an existing stream works for commands.
fn check_stream(config: &stream::Config, names: &StreamNames) -> Result<(), Error> {
    let problem = if config.retention != RetentionPolicy::WorkQueue {
        Some("keeps acknowledged messages: its retention has to be `workqueue`")
    } else if !config.subjects.contains(&names.subject) {
        Some("does not include the subject of the topic")
    } else if config.no_ack {
        Some("does not confirm publishes: `no_ack` has to be false")
    } else if config.sealed {
        Some("is sealed")
    } else {
        None
    };
    problem.map_or(Ok(()), |problem| Err(incompatible(names, problem)))
}

fn incompatible(names: &StreamNames, problem: &str) -> Error {
    Error::configuration(format!(
        "stream {} {problem}; change it, remove it so that it is created again, or set another queue.prefix",
        names.stream
    ))
}

/// Converts an error of JetStream, by what can be done about it.
fn refused(names: &StreamNames, error: async_nats::jetstream::Error) -> Error {
    let advice = match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            "enable JetStream with `jetstream {}` in the configuration of the servers, for this account too"
        }
        ErrorCode::CLUSTER_NO_PEERS | ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            "the cluster has fewer servers than replicas: set queue.nats.replication"
        }
        ErrorCode::STREAM_SUBJECT_OVERLAP => {
            "another stream includes the subject of the topic: set another queue.prefix"
        }
        _ => return Error::unavailable(format!("stream {} was refused", names.stream)).with_source(error),
    };
    Error::configuration(format!("stream {} was refused; {advice}", names.stream)).with_source(error)
}

/// Creates the consumer object of a stream, unless it exists. Returns the lease of its messages.
async fn ensure_consumer(
    connector: &NatsConnector,
    stream: &stream::Stream,
    names: &StreamNames,
) -> Result<Duration, Error> {
    let config = match stream.consumer_info(CONSUMER).await {
        Ok(info) => info.config,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            let config = pull::Config {
                durable_name: Some(CONSUMER.to_owned()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: LEASE,
                // A message is delivered until it is acknowledged. The executor detects poison messages.
                max_deliver: -1,
                max_ack_pending: MAX_ACK_PENDING,
                max_waiting: MAX_WAITING,
                ..pull::Config::default()
            };
            match stream.create_consumer(config).await {
                Ok(created) => created.cached_info().config.clone(),
                Err(error) => {
                    if let ConsumerErrorKind::JetStream(error) = error.kind() {
                        return Err(refused(names, error));
                    }
                    return Err(connector
                        .unavailable("failed to create a consumer object")
                        .with_source(error));
                }
            }
        }
        Err(error) => {
            return Err(connector.unavailable("failed to look up a consumer object").with_source(error));
        }
    };
    let problem = if config.deliver_subject.is_some() {
        Some("has a consumer `executors` that pushes messages: it has to be a pull consumer")
    } else if config.ack_policy != AckPolicy::Explicit {
        Some(
            "has a consumer `executors` without acknowledgements per message: `ack_policy` has to be `explicit`",
        )
    } else if config.max_deliver > 0 {
        Some(
            "has a consumer `executors` that drops messages after some deliveries: `max_deliver` has to be -1",
        )
    } else if config.ack_wait < MIN_LEASE {
        Some("has a consumer `executors` whose `ack_wait` is less than 4 s")
    } else {
        None
    };
    problem.map_or(Ok(config.ack_wait), |problem| Err(incompatible(names, problem)))
}
