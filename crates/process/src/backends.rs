//! Opens what the configuration names. What can't be reached now is tried until it can; what can't work is
//! refused.

use crate::Process;
use crate::Queues;
use crate::leases::StoreLeases;
use anyhow::Context;
use goconductor_definition::Cel;
use goconductor_queue::Queue;
use goconductor_queue::kafka::KafkaQueue;
use goconductor_queue::kinesis::KinesisQueue;
use goconductor_queue::nats::NatsQueue;
use goconductor_queue::rabbitmq::RabbitQueue;
use goconductor_remote::{ChangesFeed, Endpoints, RemoteStore};
use goconductor_service_kit::config::{self, Config, QueueBackend, StateStoreBackend};
use goconductor_store::Store;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_transition::{Conductor, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between tries to reach what can't be reached: doubled from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// The file that holds everything, in the data directory.
const DATABASE: &str = "goconductor.db";

/// What the services that carry workflows on stand on.
#[derive(Debug)]
pub struct Backends {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// What is written, as it is written.
    pub changes: ChangesFeed,
    /// Which queue is used.
    pub queues: Arc<Queues>,
    /// Decides, commits, publishes.
    pub conductor: Arc<Conductor>,
}

impl Backends {
    /// Opens store and queue. To be called within a runtime.
    ///
    /// # Errors
    /// When what is configured can't work.
    pub fn open(process: &Process) -> anyhow::Result<Self> {
        let config = &process.config;
        let store = process.state_stores()?.context(
            "state_store.endpoints is missing: name the state-store processes, such as \
             [http://127.0.0.1:8471]; or run `goconductor dev`, which is everything in one process",
        )?;
        let changes = store.changes();
        // What ends together is one call.
        let store: Arc<dyn Store> = Arc::new(BatchingStore::new(Arc::new(store), Limits::CALLS));
        process.check("state_store", &store, |store| async move {
            store.check().await.map_err(|error| error.to_string())
        });
        let queues = Queues::new(Arc::clone(&store), config.queue.clone(), &process.instance)?;
        process.check("queue", &queues, |queues| async move { queues.check().await });
        drop(tokio::spawn(Arc::clone(&queues).follow()));
        let queue = queues.queue();
        let settings = Settings { redelivery: config.executor.redelivery };
        let conductor = Conductor::new(Arc::clone(&store), queue, Arc::new(Cel::new()), settings);
        Ok(Self { store, changes, queues, conductor })
    }
}

/// The database, as it is configured.
///
/// # Errors
/// When it can't be opened: whether that may change is in the error.
pub async fn open_database(config: &Config) -> Result<Arc<dyn Store>, goconductor_store::Error> {
    Ok(match (config.state_store.backend, &config.state_store.url) {
        (StateStoreBackend::Postgres, Some(url)) => {
            Arc::new(PostgresStore::connect(url.expose(), config.state_store.max_connections).await?)
        }
        (StateStoreBackend::Sqlite | StateStoreBackend::Postgres, _) => {
            Arc::new(SqliteStore::open(&database_file(config))?)
        }
    })
}

fn database_file(config: &Config) -> PathBuf {
    match &config.state_store.url {
        Some(url) => PathBuf::from(url.expose().trim_start_matches("sqlite://")),
        None => config.data_dir.join(DATABASE),
    }
}

impl Process {
    /// The state stores that the configuration names; none: it names none. To be called within a runtime.
    ///
    /// # Errors
    /// When an address is none.
    pub fn state_stores(&self) -> anyhow::Result<Option<RemoteStore>> {
        let named = &self.config.state_store.endpoints;
        if named.is_empty() {
            return Ok(None);
        }
        Ok(Some(RemoteStore::new(Endpoints::new(named).context("state_store.endpoints")?)))
    }

    /// Opens something, and tries again for as long as it only can't be reached. Readiness says so meanwhile.
    ///
    /// # Errors
    /// When it can't work, or the process is to end.
    pub async fn until_open<T>(
        &self,
        what: &'static str,
        open: impl AsyncFn() -> Result<T, goconductor_store::Error>,
    ) -> anyhow::Result<T> {
        let [mut pause, longest] = PAUSES;
        loop {
            // Safe to cancel: what was half opened is let go.
            let opened = tokio::select! {
                () = self.drain.draining() => anyhow::bail!("ended before {what} could be reached"),
                opened = open() => opened,
            };
            match opened {
                Ok(open) => return Ok(open),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, what, "can't be reached, and is tried again");
                    let said = error.to_string();
                    self.readiness.add(what, move || {
                        let said = said.clone();
                        async move { Err(said) }
                    });
                }
                Err(error) => return Err(error).with_context(|| format!("{what} can't be opened")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Adds a check of something to readiness.
    pub fn check<T, F>(
        &self,
        name: &'static str,
        what: &Arc<T>,
        check: impl Fn(Arc<T>) -> F + Send + Sync + 'static,
    ) where
        T: ?Sized + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let what = Arc::clone(what);
        self.readiness.add(name, move || check(Arc::clone(&what)));
    }
}

/// Opens a queue. The store keeps the leases of Kinesis, in which `identity` names this process.
pub(crate) fn open_queue(
    config: &config::Queue,
    backend: QueueBackend,
    store: &Arc<dyn Store>,
    identity: &str,
) -> anyhow::Result<Arc<dyn Queue>> {
    let missing =
        || anyhow::anyhow!("queue {} is not configured: add its section below queue", backend.name());
    Ok(match backend {
        QueueBackend::Memory => anyhow::bail!("queue memory cannot reach other processes"),
        QueueBackend::Kafka => Arc::new(KafkaQueue::new(config.kafka.clone().ok_or_else(missing)?)?),
        QueueBackend::Kinesis => {
            let settings = config.kinesis.clone().ok_or_else(missing)?;
            let leases = Arc::new(StoreLeases(store.clone()));
            Arc::new(KinesisQueue::new(settings, identity, leases)?)
        }
        QueueBackend::Nats => Arc::new(NatsQueue::new(config.nats.clone().ok_or_else(missing)?)?),
        QueueBackend::RabbitMq => Arc::new(RabbitQueue::new(config.rabbitmq.clone().ok_or_else(missing)?)?),
    })
}
