//! Streams and consumers that are missing are made; what is there and can't work is refused.

use super::link::{Connected, Link};
use super::options::Names;
use crate::Error;
use crate::settings::nats::Settings;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The one consumer of each stream, which all executors share.
pub(super) const CONSUMER: &str = "executors";
/// What was taken and not acknowledged comes again after this, unless whoever has it says that it still works on it.
const LEASE: Duration = Duration::from_secs(8);
/// For how long the servers know a message's id: longer than one is published again for.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// What all consumers of a topic together may have taken and not acknowledged: they acknowledge at once.
const TAKEN: i64 = 10_000;
/// Requests for messages that wait at once, of all consumers of a topic.
const WAITING: i64 = 2048;
/// Replicas in a cluster where nothing else is said.
const REPLICAS: usize = 3;

/// Streams that are known to be there, each with the lease of its consumer.
#[derive(Default)]
pub(super) struct Streams {
    known: Mutex<BTreeMap<String, Duration>>,
    /// One at a time: who comes second finds it made.
    making: tokio::sync::Mutex<()>,
}

impl Streams {
    fn known(&self, names: &Names) -> Option<Duration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&names.stream).copied()
    }

    /// It may be gone.
    pub(super) fn forget(&self, names: &Names) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&names.stream);
    }

    /// Makes a stream and its consumer, unless they are there; for how long its messages are lent.
    pub(super) async fn ensure(
        &self,
        link: &Link,
        connected: &Connected,
        settings: &Settings,
        names: &Names,
    ) -> Result<Duration, Error> {
        if let Some(lease) = self.known(names) {
            return Ok(lease);
        }
        let _one = self.making.lock().await;
        if let Some(lease) = self.known(names) {
            return Ok(lease);
        }
        let stream = self.stream(link, connected, settings, names).await?;
        let lease = consumer(link, &stream, names).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(names.stream.clone(), lease);
        Ok(lease)
    }

    async fn stream(
        &self,
        link: &Link,
        connected: &Connected,
        settings: &Settings,
        names: &Names,
    ) -> Result<stream::Stream, Error> {
        let found = match connected.jetstream.get_stream(&names.stream).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    make(link, connected, settings, names).await?
                }
                GetStreamErrorKind::JetStream(said) => return Err(refused(names, &said)),
                GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::InvalidStreamName => {
                    return Err(link.unavailable(&silent(&error.to_string())));
                }
            },
        };
        check(&found.cached_info().config, names)?;
        Ok(found)
    }
}

async fn make(
    link: &Link,
    connected: &Connected,
    settings: &Settings,
    names: &Names,
) -> Result<stream::Stream, Error> {
    let in_cluster = connected.client.server_info().cluster.is_some();
    let config = wanted(settings, names, in_cluster);
    let replicas = config.num_replicas;
    let error = match connected.jetstream.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(stream = names.stream, replicas, "the stream was made");
            return Ok(stream);
        }
        Err(error) => error,
    };
    if let CreateStreamErrorKind::JetStream(said) = error.kind() {
        if said.error_code() != ErrorCode::STREAM_NAME_EXIST {
            return Err(refused(names, &said));
        }
        // By another process, meanwhile, and in its own way.
        let made = connected.jetstream.get_stream(&names.stream).await;
        return made.map_err(|error| link.unavailable(&error.to_string()));
    }
    Err(link.unavailable(&error.to_string()))
}

/// What nobody answers may not be there.
fn silent(said: &str) -> String {
    format!(
        "JetStream does not answer ({said}); is it enabled, by `jetstream {{}}` in the servers' configuration?"
    )
}

fn wanted(settings: &Settings, names: &Names, in_cluster: bool) -> stream::Config {
    let by_itself = if in_cluster { REPLICAS } else { 1 };
    let replicas = settings.replication.and_then(|count| usize::try_from(count).ok());
    stream::Config {
        name: names.stream.clone(),
        description: Some("commands of GoConductor".to_owned()),
        subjects: vec![names.subject.clone()],
        retention: RetentionPolicy::WorkQueue,
        // Whatever limits somebody sets later: what is taken in is not thrown away.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas.unwrap_or(by_itself),
        duplicate_window: KNOWN_FOR,
        ..stream::Config::default()
    }
}

/// A stream that somebody else has made has to work for commands.
fn check(found: &stream::Config, names: &Names) -> Result<(), Error> {
    let wrong = if found.retention != RetentionPolicy::WorkQueue {
        Some("keeps messages that were acknowledged: its retention has to be `workqueue`")
    } else if !found.subjects.contains(&names.subject) {
        Some("does not take the subject of the same name")
    } else if found.no_ack {
        Some("does not say what it has stored: `no_ack` has to be false")
    } else if found.sealed {
        Some("is sealed")
    } else {
        None
    };
    wrong.map_or(Ok(()), |wrong| Err(misfit(names, wrong)))
}

fn misfit(names: &Names, wrong: &str) -> Error {
    let reason = format!(
        "the stream {} is there and {wrong}; change or remove it, and it is made as it has to be, or set queue.prefix",
        names.stream
    );
    Error::Configuration { reason }
}

/// What JetStream refuses, by what can be done about it.
fn refused(names: &Names, said: &async_nats::jetstream::Error) -> Error {
    let advice = match said.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            "enable it by `jetstream {}` in the servers' configuration, for this account too"
        }
        ErrorCode::CLUSTER_NO_PEERS | ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            "there are not as many servers as replicas: set queue.nats.replication"
        }
        ErrorCode::STREAM_SUBJECT_OVERLAP => "another stream takes its subject: set queue.prefix",
        _ => return Error::Unavailable { reason: format!("the stream {}: {said}", names.stream) },
    };
    Error::Configuration { reason: format!("the stream {}: {said}; {advice}", names.stream) }
}

/// The consumer of a stream; for how long its messages are lent.
async fn consumer(link: &Link, stream: &stream::Stream, names: &Names) -> Result<Duration, Error> {
    let found = match stream.consumer_info(CONSUMER).await {
        Ok(info) => info.config,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            let wanted = pull::Config {
                durable_name: Some(CONSUMER.to_owned()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: LEASE,
                // A command comes until it is acknowledged: the executor says what is no command.
                max_deliver: -1,
                max_ack_pending: TAKEN,
                max_waiting: WAITING,
                ..pull::Config::default()
            };
            match stream.create_consumer(wanted).await {
                Ok(made) => made.cached_info().config.clone(),
                Err(error) => {
                    if let ConsumerErrorKind::JetStream(said) = error.kind() {
                        return Err(refused(names, &said));
                    }
                    return Err(link.unavailable(&error.to_string()));
                }
            }
        }
        Err(error) => return Err(link.unavailable(&error.to_string())),
    };
    let wrong = if found.deliver_subject.is_some() {
        Some("has a consumer `executors` that is pushed to")
    } else if found.ack_policy != AckPolicy::Explicit {
        Some(
            "has a consumer `executors` that does not acknowledge each message: `ack_policy` has to be `explicit`",
        )
    } else if found.max_deliver > 0 {
        Some("has a consumer `executors` that loses what was delivered too often: `max_deliver` has to be -1")
    } else if found.ack_wait < Duration::from_secs(4) {
        Some("has a consumer `executors` with an `ack_wait` of less than 4 s")
    } else {
        None
    };
    wrong.map_or(Ok(found.ack_wait), |wrong| Err(misfit(names, wrong)))
}
