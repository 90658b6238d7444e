//! `goconductor dev`: the four services in one process.

use crate::args::DevArgs;
use crate::demo;
use anyhow::Context;
use goconductor_api_gateway as gateway;
use goconductor_definition::Cel;
use goconductor_election::{Election, local::LocalElection};
use goconductor_leader_elector::LeaderElector;
use goconductor_queue::Queue;
use goconductor_queue::memory::{Limits as QueueLimits, MemoryQueue};
use goconductor_saga_executor::Executor;
use goconductor_service_kit::config::{Config, StateStoreBackend};
use goconductor_state_store::StateStore;
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ServiceRecord, Store};
use goconductor_transition::{Conductor, Settings, clock};
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The file that holds everything, in the data directory.
pub(crate) const DATABASE: &str = "goconductor.db";

/// Runs until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// When it can't start: the configuration, the address, the database.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let config = crate::config::load(&args)?;
    crate::config::start_telemetry(&config)?;
    // Bound first: an address that is taken is the likeliest mistake, and nothing has been opened yet.
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("{} can't be listened on: choose another by --listen", config.listen))?;
    let address = listener.local_addr()?;
    let backend = open(&config, args.ephemeral).await?;
    // The queue of this process died with the one before it: what was on its way is due again.
    let expired = backend.expire_deliveries(clock::now()).await?;
    if expired > 0 {
        tracing::info!(commands = expired, "commands of an earlier process are taken up again");
    }
    let process = Process::start(&config, backend, args.demo).await?;
    say_hello(&address.to_string(), &config, &args);
    process.serve(listener, &config).await
}

/// The database, as it is configured.
async fn open(config: &Config, ephemeral: bool) -> anyhow::Result<Arc<dyn Store>> {
    if ephemeral {
        return Ok(Arc::new(SqliteStore::ephemeral()?));
    }
    Ok(match (config.state_store.backend, &config.state_store.url) {
        (StateStoreBackend::Postgres, Some(url)) => {
            Arc::new(PostgresStore::connect(url.expose(), config.state_store.max_connections).await?)
        }
        (StateStoreBackend::Sqlite | StateStoreBackend::Postgres, _) => {
            Arc::new(SqliteStore::open(&crate::config::database(config))?)
        }
    })
}

/// What runs in this process.
struct Process {
    stop: CancellationToken,
    conductor: Arc<Conductor>,
    state_store: Arc<StateStore>,
    executor: tokio::task::JoinHandle<()>,
}

impl Process {
    async fn start(config: &Config, backend: Arc<dyn Store>, demo: bool) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let state_store = Arc::new(StateStore::new(backend, goconductor_state_store::Limits::default()));
        let store: Arc<dyn Store> = Arc::clone(&state_store) as Arc<dyn Store>;
        // Tokens rise over every boot, so that a leader of an earlier one is told from this one.
        let first_token = store.raise_epoch("boot").await? << 20;
        let election: Arc<dyn Election> =
            Arc::new(LeaderElector::new(Arc::new(LocalElection::new(first_token))));
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(QueueLimits::default()));
        let settings = Settings { redelivery: config.executor.redelivery };
        let conductor = Conductor::new(Arc::clone(&store), queue, Arc::new(Cel::new()), settings);
        for (name, service) in &config.services {
            let settings = json!({
                "http": {"url": service.http.url.expose()},
                "max_in_flight": service.max_in_flight,
            });
            let (namespace, name, updated_at) = ("default".to_owned(), name.clone(), clock::now());
            store.put_service(ServiceRecord { namespace, name, settings, updated_at }).await?;
        }
        if demo {
            demo::start(&store, stop.clone()).await?;
        }
        let executor =
            Executor::new(Arc::clone(&conductor), election, executor_settings(config)).run(stop.clone());
        Ok(Self { stop, conductor, state_store, executor: tokio::spawn(executor) })
    }

    /// Serves until a signal, then ends in the order in which things depend on one another.
    async fn serve(self, listener: TcpListener, config: &Config) -> anyhow::Result<()> {
        let router = gateway::router(gateway::Dependencies {
            conductor: Arc::clone(&self.conductor),
            changes: self.state_store.changes(),
            limits: crate::config::gateway_limits(config),
        });
        let served = gateway::serve(listener, router, crate::config::shutdown_signal()).await;
        tracing::info!("ends what is under way");
        self.stop.cancel();
        self.executor.await.context("the executor has failed")?;
        self.conductor.drain().await;
        served.context("the gateway has failed")
    }
}

fn executor_settings(config: &Config) -> goconductor_saga_executor::Settings {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    goconductor_saga_executor::Settings {
        identity: format!("dev-{}", uuid::Uuid::now_v7().simple()),
        compensations_in_flight: count(config.executor.compensations_in_flight),
        start_grace: config.executor.start_grace,
        redelivery: config.executor.redelivery,
        drain: config.executor.drain,
        output_bytes: config.limits.output_bytes,
        ..goconductor_saga_executor::Settings::default()
    }
}

#[allow(clippy::print_stderr, reason = "what a person who starts it wants to see first")]
fn say_hello(address: &str, config: &Config, args: &DevArgs) {
    eprintln!("GoConductor {} is ready", env!("CARGO_PKG_VERSION"));
    eprintln!("  console and API  http://{address}/");
    if args.ephemeral {
        eprintln!("  data             in memory: gone when it ends");
    } else {
        match config.state_store.backend {
            StateStoreBackend::Sqlite => {
                eprintln!("  data             {}", crate::config::database(config).display());
            }
            StateStoreBackend::Postgres => eprintln!("  data             PostgreSQL"),
        }
    }
    if args.demo {
        eprintln!("  try              goconductor workflow start order-processing --wait --input \\");
        eprintln!(r#"                     '{{"order_id":"o-1","amount":42,"items":[{{"sku":"book","quantity":1}}]}}'"#);
    }
}
