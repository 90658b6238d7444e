//! `goconductor dev`: the four services in one process.

use crate::args::DevArgs;
use crate::demo;
use crate::error::Result;
use anyhow::Context;
use goconductor_api_gateway as gateway;
use goconductor_definition::Cel;
use goconductor_election::{Election, local::LocalElection};
use goconductor_leader_elector::LeaderElector;
use goconductor_process::Presence;
use goconductor_queue::Queue;
use goconductor_queue::memory::{Limits as QueueLimits, MemoryQueue};
use goconductor_saga_executor::{Executor, WorkerService};
use goconductor_service_kit::config::{Config, StateStoreBackend};
use goconductor_service_kit::drain::Drain;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::{self, Metrics};
use goconductor_store::grouped::{Grouped, Limits};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ActionLimits, ServiceRecord, ServiceSettings, Store, keep_up};
use goconductor_transition::{Conductor, Settings, clock};
use goconductor_wire::v1::worker_service_server::WorkerServiceServer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The file that holds everything, in the data directory.
pub(crate) const DATABASE: &str = "goconductor.db";
/// Fencing tokens that one run may give out: the next one begins above them.
const TOKENS: u32 = 32;

/// Runs until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// When it can't start: the configuration, the address, the database.
pub(crate) async fn run(args: DevArgs) -> Result<()> {
    let config = Config::load(&args.sources())?;
    let metrics = telemetry::init(&config.telemetry).map_err(anyhow::Error::from)?;
    // Bound first: an address that is taken is the likeliest mistake, and nothing has been opened yet.
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("{} can't be listened on: choose another by --listen", config.listen))?;
    let address = listener.local_addr().context("the address can't be read")?;
    let backend = open(&config, args.ephemeral).await?;
    // The queue of this process died with the one before it: what was on its way is due again.
    let expired = backend.expire_deliveries(clock::now()).await?;
    if expired > 0 {
        tracing::info!(commands = expired, "commands of an earlier process are taken up again");
    }
    let process = Process::start(&config, backend, metrics, &args, address).await?;
    say_hello(&address.to_string(), &config, &args);
    process.serve(listener).await?;
    Ok(())
}

/// The database, as it is configured.
async fn open(config: &Config, ephemeral: bool) -> Result<Arc<dyn Store>> {
    if ephemeral {
        return Ok(Arc::new(SqliteStore::ephemeral()?));
    }
    Ok(match (config.state_store.backend, &config.state_store.url) {
        (StateStoreBackend::Postgres, Some(url)) => {
            Arc::new(PostgresStore::connect(url.expose(), config.state_store.max_connections).await?)
        }
        (StateStoreBackend::Sqlite | StateStoreBackend::Postgres, _) => {
            let file = database(config);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("the folder {} can't be made", folder.display()))?;
            }
            Arc::new(SqliteStore::open(&file)?)
        }
    })
}

/// Where SQLite's file is.
fn database(config: &Config) -> PathBuf {
    match &config.state_store.url {
        Some(url) => PathBuf::from(url.expose().trim_start_matches("sqlite://")),
        None => config.data_dir.join(DATABASE),
    }
}

/// What runs in this process.
struct Process {
    drain: Drain,
    conductor: Arc<Conductor>,
    gateway: gateway::Dependencies,
    executor: tokio::task::JoinHandle<()>,
    workers: WorkerServiceServer<WorkerService>,
    presence: Presence,
    keeping: tokio::task::JoinHandle<()>,
}

impl Process {
    async fn start(
        config: &Config,
        backend: Arc<dyn Store>,
        metrics: Metrics,
        args: &DevArgs,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let drain = Drain::new();
        drain.on_signals().context("signals can't be listened to")?;
        let state_store = Arc::new(Grouped::new(backend, Limits::default()));
        let changes = state_store.changes();
        let store: Arc<dyn Store> = state_store;
        // Tokens rise over every run, so that a leader of an earlier one is told from this one.
        let first_token = store.raise_epoch("boot").await? << TOKENS;
        let election: Arc<dyn Election> =
            Arc::new(LeaderElector::new(Arc::new(LocalElection::new(first_token))));
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(QueueLimits::default()));
        let settings = Settings { redelivery: config.executor.redelivery };
        let conductor = Conductor::new(Arc::clone(&store), queue, Arc::new(Cel::new()), settings);
        set_services(config, &store).await?;
        if args.demo {
            demo::start(&store, drain.token()).await?;
        }
        let settings = executor_settings(config);
        let instance = settings.identity.clone();
        let mut executor = Executor::new(Arc::clone(&conductor), Arc::clone(&election), settings);
        if args.bench_participants {
            for each in goconductor_bench::in_process() {
                executor = executor.with_participant(
                    &each.namespace,
                    &each.service,
                    each.participant,
                    each.capacity,
                );
            }
        }
        // Workers ask who is there, and find this process.
        let presence = Presence::announce(
            "saga-executor",
            &instance,
            address,
            Arc::clone(&store),
            executor.process_info(),
        );
        let workers = executor.worker_service(drain.token());
        let gateway = gateway::Dependencies {
            conductor: Arc::clone(&conductor),
            election: Some(Arc::clone(&election)),
            queues: None,
            changes,
            limits: gateway::limits(config),
            admission: gateway::admission(config),
            readiness: readiness(&store),
            metrics: metrics.clone(),
            stop: drain.token(),
        };
        let retention = config.state_store.retention;
        let keeping = keep_up(Arc::clone(&store), retention, drain.token().cancelled_owned());
        let keeping = tokio::spawn(keeping);
        drop(tokio::spawn(metrics.keep_up()));
        let executor = tokio::spawn(executor.run(drain.token()));
        Ok(Self { drain, conductor, gateway, executor, workers, presence, keeping })
    }

    /// Serves until a signal, then ends in the order in which things depend on one another.
    async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let served = gateway::serve(listener, self.gateway, |calls| calls.add_service(self.workers)).await;
        // Without a gateway nobody could tell the rest to end.
        self.drain.signal();
        tracing::info!("ends what is under way");
        self.presence.withdraw().await;
        self.executor.await.context("the executor has failed")?;
        self.keeping.await.context("the upkeep has failed")?;
        self.conductor.drain().await;
        served.context("the gateway has failed")
    }
}

/// The services that the configuration names.
async fn set_services(config: &Config, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    for (name, service) in &config.services {
        let limits = |(action, limit): (&String, &u32)| {
            (action.clone(), ActionLimits { max_in_flight: u64::from(*limit) })
        };
        let settings = ServiceSettings {
            max_in_flight: Some(service.max_in_flight.into()),
            actions: service.actions.iter().map(limits).collect(),
            ..ServiceSettings::http(service.http.url.expose())
        };
        let (namespace, name, updated_at) = ("default".to_owned(), name.clone(), clock::now());
        store.put_service(ServiceRecord { namespace, name, settings, updated_at }).await?;
    }
    Ok(())
}

fn readiness(store: &Arc<dyn Store>) -> Readiness {
    let readiness = Readiness::new();
    let store = Arc::clone(store);
    readiness.add("state_store", move || {
        let store = Arc::clone(&store);
        async move { store.check().await.map_err(|error| error.to_string()) }
    });
    readiness
}

fn executor_settings(config: &Config) -> goconductor_saga_executor::Settings {
    let identity = format!("dev-{}", uuid::Uuid::now_v7().simple());
    // One process: shares would be led by the same leader.
    goconductor_saga_executor::Settings {
        duty_shards: 1,
        ..goconductor_saga_executor::settings(config, identity)
    }
}

#[allow(clippy::print_stderr, reason = "what a person who starts it wants to see first")]
fn say_hello(address: &str, config: &Config, args: &DevArgs) {
    eprintln!("GoConductor {} is ready", env!("CARGO_PKG_VERSION"));
    eprintln!("  console and API  http://{address}/");
    let data = match (args.ephemeral, config.state_store.backend) {
        (true, _) => "in memory: gone when it ends".to_owned(),
        (false, StateStoreBackend::Sqlite) => database(config).display().to_string(),
        (false, StateStoreBackend::Postgres) => "PostgreSQL".to_owned(),
    };
    eprintln!("  data             {data}");
    if args.demo {
        eprintln!("  try              goconductor workflow start order-processing --wait --input \\");
        eprintln!(
            r#"                     '{{"order_id":"o-1","amount":42,"items":[{{"sku":"book","quantity":1}}]}}'"#
        );
    }
}
