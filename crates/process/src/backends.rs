//! The backends of a service, as configured. A backend that is unreachable is retried; a backend that cannot work is an
//! error.

use crate::engine_limits;
use crate::live_config::LiveConfig;
use crate::process::Process;
use crate::queues::{ConfiguredQueues, queue_of};
use crate::start_rules;
use anyhow::Context;
use goconductor_definition::Cel;
use goconductor_queue_migration::{QueueFactory, QueueMigrator};
use goconductor_remote::{ChangesFeed, RemoteStore};
use goconductor_service_kit::config::QueueBackend;
use goconductor_store::Store;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_transition::Engine;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The backends of the services that process workflows.
#[derive(Debug)]
pub struct Backends {
    /// The durable state.
    pub store: Arc<dyn Store>,
    /// The changes of the durable state, as they are written.
    pub changes: ChangesFeed,
    /// The queue, and its migrations.
    pub queues: Arc<QueueMigrator>,
    /// The engine, which decides, commits and publishes transitions.
    pub engine: Arc<Engine>,
    /// The configuration, which the API changes.
    pub live: Arc<LiveConfig>,
}

impl Backends {
    /// Opens the store, reads the settings of the API from it, and opens the queue. Waits until the store is reachable.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot work.
    pub async fn open(process: &mut Process) -> anyhow::Result<Self> {
        let store = process.state_stores()?.context(
            "state_store.endpoints is missing: set the URLs of the state-store processes, such as \
             [http://127.0.0.1:8471]; or run `goconductor dev`, which runs all services in one process",
        )?;
        check_queues(process, &store)?;
        let default_queue = process.config.queue.backend;
        let live = process.load_config(Arc::new(store.clone())).await?;
        let process = &*process;
        let config = &process.config;
        let changes = store.changes();
        // Concurrent writes share a request.
        let store: Arc<dyn Store> = Arc::new(BatchingStore::new(Arc::new(store), Limits::CALLS));
        process.add_check("state_store", &store, |store| async move {
            store.check().await.map_err(|error| error.to_string())
        });
        let queues = open_queues(process, default_queue, &live, &store)?;
        process.add_check("queue", &queues, |queues| async move { queues.check().await });
        drop(goconductor_supervisor::spawn("queue-migration", Arc::clone(&queues).run()));
        let queue = queues.queue();
        let settings = engine_limits::settings(config);
        let engine = Engine::new(Arc::clone(&store), queue, Arc::new(Cel::new()), settings);
        engine_limits::follow(&live, &engine);
        start_rules::follow(process, &engine);
        // The membership publishes both views, so it waits for one notification.
        live.follow(store.clone(), queues.view_changed(), process.drain.token());
        Ok(Self { store, changes, queues, engine, live })
    }
}

/// Checks the queues of the process's own configuration before the state store is needed, so that a process that cannot
/// work ends at once.
fn check_queues(process: &Process, store: &RemoteStore) -> anyhow::Result<()> {
    let config = process.config.queue.clone();
    if config.backend == QueueBackend::Memory {
        anyhow::bail!(
            "queue.backend is memory, which cannot connect processes: set queue.backend to kafka and queue.brokers, or \
             to another broker; or run `goconductor dev`, which runs all services in one process"
        );
    }
    let (default, config) = (config.backend, RwLock::new(config));
    let identity = process.instance.clone();
    let factory = ConfiguredQueues { default, config, store: Arc::new(store.clone()), identity };
    for name in factory.configured() {
        factory.open(name).context("queue")?;
    }
    Ok(())
}

fn open_queues(
    process: &Process,
    default: QueueBackend,
    live: &LiveConfig,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Arc<QueueMigrator>> {
    goconductor_telemetry::describe(goconductor_queue::metrics::ALL);
    let config = RwLock::new(process.config.queue.clone());
    let factory =
        ConfiguredQueues { default, config, store: store.clone(), identity: process.instance.clone() };
    let factory = Arc::new(factory);
    let queues = QueueMigrator::new(store.clone(), factory.clone()).context("queue")?;
    let in_use = Arc::downgrade(&queues);
    live.set_applied_filter(move |setting| {
        let is_used = |backend: QueueBackend| {
            in_use.upgrade().is_none_or(|queues| queues.in_use().iter().any(|name| name == backend.name()))
        };
        queue_of(setting).is_some_and(|backend| !is_used(backend))
    });
    let (in_use, has_changed) = (Arc::downgrade(&queues), AtomicBool::new(false));
    live.on_change(move |config| {
        // The first call passes the configuration that the queues were opened with.
        if has_changed.swap(true, Ordering::Relaxed)
            && let Some(queues) = in_use.upgrade()
        {
            factory.update(&config.queue, &queues.in_use());
            queues.close_unused();
        }
    });
    Ok(queues)
}
