//! `goconductor dev`: all services in one process.

use crate::args::DevArgs;
use crate::defaults::DEFAULT_SERVER;
use crate::demo;
use crate::error::Result;
use anyhow::Context;
use goconductor_api_gateway as gateway;
use goconductor_definition::Cel;
use goconductor_election::{Election, local::LocalElection};
use goconductor_leader_elector::LeaderElector;
use goconductor_process::{
    ConnectionLimits, CoreDumps, LimitedListener, Listeners, LiveConfig, MembershipLease, StoreAccess, Vault,
    VaultPayloadKeys, advertised_address, engine_settings, follow_engine_limits, load_config, notify_systemd,
    until_failure,
};
use goconductor_queue::Queue;
use goconductor_queue::memory::{Limits as QueueLimits, MemoryQueue};
use goconductor_saga_executor::{Executor, InFlightLimits, WorkerAcceptor};
use goconductor_service_kit::config::Config;
use goconductor_service_kit::drain::Drain;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::log;
use goconductor_service_kit::telemetry::{self, Identity, Metrics};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::{
    ActionLimits, DatabaseLocation, HttpEndpoint, ProcessInfo, SchemaPolicy, ServiceRecord, ServiceSettings,
    Store, maintenance_loop,
};
use goconductor_transition::{Engine, clock};
use goconductor_wire::v1::worker_service_server::WorkerServiceServer;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// The bits of a fencing token that one run of the process can use. The next run starts above them.
const TOKEN_BITS: u32 = 32;

/// Runs until SIGTERM or SIGINT, then drains work in progress.
///
/// # Errors
/// Returns an error if the configuration is invalid, the address cannot be bound or the database cannot be opened.
pub(crate) async fn run(args: DevArgs) -> Result<()> {
    let core_dumps = CoreDumps::disable();
    let access = if args.ephemeral { StoreAccess::Remote } else { StoreAccess::Direct };
    let config = load_config(&args.sources(), access).await?;
    let instance = format!("dev-{}", uuid::Uuid::now_v7().simple());
    let identity = Identity { service: "dev", instance: &instance };
    let metrics = telemetry::init(&config.telemetry, identity).map_err(anyhow::Error::from)?;
    log::report_panics();
    config.warn_about_ignored_variables();
    core_dumps.apply(&config);
    // Bind before the database is opened: an address in use is the most frequent mistake.
    let tls = goconductor_process::load_tls(&config).map_err(anyhow::Error::from)?;
    let is_secure = tls.is_some();
    let listeners = Listeners::bind(&config.listen, &config).await?.with_tls(tls);
    let address = listeners.local_addr().context("failed to read the local address")?;
    if args.virtual_time {
        check_loopback(address)?;
        clock::make_virtual();
    }
    let drain = Drain::new();
    // Before the database is opened, because a migration of its schema can take longer than a start may take.
    let started: Arc<OnceLock<Readiness>> = Arc::default();
    let readiness = Arc::clone(&started);
    notify_systemd(&drain, config.shutdown_limit(), move || {
        let readiness = readiness.get().cloned();
        async move {
            match readiness {
                Some(readiness) => readiness.report().await.to_result(),
                None => Err("starting".to_owned()),
            }
        }
    });
    let policy = goconductor_process::schema_policy(&config);
    let backend = open(location(&config, &args), policy).await?;
    let live = LiveConfig::load(config, &backend).await?;
    let config = live.current();
    // The in-process queue lost its messages when the previous process ended. Dispatch the commands again.
    let expired = backend.expire_deliveries(clock::now()).await?;
    if expired > 0 {
        tracing::info!(commands = expired, "dispatcher reset commands of an earlier process");
    }
    drain.on_signals(config.shutdown_limit()).context("failed to install the signal handlers")?;
    goconductor_supervisor::arm();
    // Boxed, because the future of a server is large.
    let server = Box::pin(async {
        let services =
            DevServices::start(&live, instance, backend, metrics, &args, address, drain.clone()).await?;
        drop(started.set(services.gateway.readiness.clone()));
        let scheme = if is_secure { "https" } else { "http" };
        let url = format!("{scheme}://{}", config.listen.with_port(address.port()));
        print_banner(&url, &config, &args);
        let limits = ConnectionLimits::of_clients(&config.limits);
        let connections = LimitedListener::new(listeners, limits);
        connections.bounds().follow(&live, ConnectionLimits::of_clients);
        services.serve(connections).await
    });
    let served = until_failure(&drain, server).await;
    // It blocks the thread, and the export needs the others.
    drop(tokio::task::spawn_blocking(telemetry::shut_down_export).await);
    served?;
    Ok(())
}

/// Refuses an address that other machines reach, because every client that reaches the server can move its clock.
fn check_loopback(address: SocketAddr) -> Result<()> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(anyhow::anyhow!(
        "--virtual-time is refused for the address {address}, which is not a loopback address; use --listen 127.0.0.1:{}",
        address.port()
    )
    .into())
}

/// Opens a database. The directory of a SQLite file is created.
async fn open(location: DatabaseLocation<'_>, policy: SchemaPolicy) -> Result<Arc<dyn Store>> {
    if let DatabaseLocation::Sqlite(file) = &location
        && let Some(folder) = file.parent()
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the directory {}", folder.display()))?;
    }
    Ok(goconductor_store::open_with(location, policy).await?)
}

/// Returns the location of the configured database, or that of a temporary one.
fn location<'a>(config: &'a Config, args: &DevArgs) -> DatabaseLocation<'a> {
    if args.ephemeral {
        DatabaseLocation::SqliteEphemeral
    } else {
        goconductor_process::database_location(config)
    }
}

/// The services of this process.
struct DevServices {
    drain: Drain,
    engine: Arc<Engine>,
    gateway: gateway::Dependencies,
    executor: tokio::task::JoinHandle<()>,
    workers: WorkerServiceServer<WorkerAcceptor>,
    membership: MembershipLease,
    maintenance: tokio::task::JoinHandle<()>,
}

impl DevServices {
    async fn start(
        live: &Arc<LiveConfig>,
        instance: String,
        backend: Arc<dyn Store>,
        metrics: Metrics,
        args: &DevArgs,
        address: SocketAddr,
        drain: Drain,
    ) -> anyhow::Result<Self> {
        let current = live.current();
        let config = &*current;
        let state_store = Arc::new(BatchingStore::new(backend, Limits::default()));
        let changes = state_store.changes();
        let store: Arc<dyn Store> = state_store;
        // Fencing tokens increase over all runs, so a leader of an earlier run is fenced off.
        let first_token = store.raise_epoch("boot").await? << TOKEN_BITS;
        let election: Arc<dyn Election> =
            Arc::new(LeaderElector::new(Arc::new(LocalElection::new(first_token))));
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(QueueLimits::default()));
        let engine = Engine::new(Arc::clone(&store), queue, Arc::new(Cel::new()), dev_settings(config, args));
        engine.set_start_rules(goconductor_process::current_start_rules(&*store).await?);
        set_services(config, &store).await?;
        if args.demo {
            demo::start(&store, drain.token()).await?;
        }
        let settings = executor_settings(config, args, instance.clone());
        let access = gateway::access_control(config, store.clone())?;
        let vault = open_vault(config, &engine, &drain).await?;
        let executor = Executor::new(Arc::clone(&engine), Arc::clone(&election), settings)
            .with_access_control(access.clone())
            .with_vault(vault.clone());
        #[cfg(feature = "bench")]
        let executor = if args.bench_participants { with_bench_participants(executor) } else { executor };
        // Workers discover executors through cluster membership.
        let (info, own, info_changed) = (executor.process_info(), Arc::clone(live), Arc::<Notify>::default());
        let membership = MembershipLease::start_with_notify(
            "saga-executor",
            &instance,
            advertised_address(config, address),
            store.clone(),
            move || ProcessInfo { config: Some(own.view()), ..info() },
            Arc::clone(&info_changed),
        );
        let workers = executor.worker_service(drain.token());
        let readiness = readiness(&store);
        drop(goconductor_supervisor::spawn("readiness", readiness.clone().record_loop()));
        let gateway = gateway::Dependencies {
            engine: Arc::clone(&engine),
            election: Some(Arc::clone(&election)),
            queues: None,
            config: Arc::clone(live),
            vault,
            redact: config.encryption.redact.clone(),
            changes,
            limits: gateway::limits(config),
            outbound: config.executor.outbound.clone().with_loopback(),
            admission: gateway::admission(config),
            access,
            audit_starts: config.audit.starts,
            readiness,
            metrics: metrics.clone(),
            stop: drain.token(),
        };
        follow(live, &engine, executor.in_flight_limits(), info_changed, &drain);
        let maintenance =
            maintenance_loop(Arc::clone(&store), live.retention(), drain.token().cancelled_owned());
        let maintenance = goconductor_supervisor::spawn("maintenance", maintenance);
        let executor = goconductor_supervisor::spawn("executor", executor.run(drain.token()));
        Ok(Self { drain, engine, gateway, executor, workers, membership, maintenance })
    }

    /// Serves until a signal, then stops each part before the parts that it depends on.
    async fn serve(self, connections: LimitedListener) -> anyhow::Result<()> {
        gateway::serve(connections, self.gateway, |routes| routes.add_service(self.workers)).await;
        self.drain.signal();
        tracing::info!("server started to drain work in progress");
        self.membership.withdraw().await;
        self.executor.await.context("the executor failed")?;
        self.maintenance.await.context("the maintenance of the store failed")?;
        self.engine.drain().await;
        Ok(())
    }
}

/// Opens the secrets, and starts to wrap data keys of earlier master keys again.
async fn open_vault(config: &Config, engine: &Engine, drain: &Drain) -> anyhow::Result<Option<Arc<Vault>>> {
    let store = engine.store();
    let vault =
        Vault::open(&config.secrets, Arc::clone(store)).await.context("failed to open the secrets")?;
    if let Some(vault) = &vault {
        engine.set_payload_keys(VaultPayloadKeys::new(Arc::clone(vault), config.encryption.clone()));
        let run = Arc::clone(vault).run(drain.token().cancelled_owned());
        drop(goconductor_supervisor::spawn("secrets", run));
    }
    Ok(vault)
}

/// Adds the participants of `bench`, which then run in this process.
#[cfg(feature = "bench")]
fn with_bench_participants(mut executor: Executor) -> Executor {
    for each in goconductor_bench::in_process() {
        executor = executor.with_participant(&each.namespace, &each.service, each.participant, each.capacity);
    }
    executor
}

/// Registers the services of the configuration.
async fn set_services(config: &Config, store: &Arc<dyn Store>) -> anyhow::Result<()> {
    for (name, service) in &config.services {
        let limits = |(action, limit): (&String, &u32)| {
            (action.clone(), ActionLimits { max_in_flight: u64::from(*limit) })
        };
        let settings = ServiceSettings {
            max_in_flight: Some(service.max_in_flight.into()),
            actions: service.actions.iter().map(limits).collect(),
            http: Some(HttpEndpoint {
                url: service.http.url.expose().to_owned(),
                headers: service.http.headers.clone(),
            }),
            ..ServiceSettings::default()
        };
        let (namespace, name, updated_at) = ("default".to_owned(), name.clone(), clock::now());
        store.put_service(ServiceRecord { namespace, name, settings, updated_at }).await?;
    }
    Ok(())
}

/// Applies changes of the configuration while the server runs. The gateway applies its own limits.
fn follow(
    live: &Arc<LiveConfig>,
    engine: &Arc<Engine>,
    limits: InFlightLimits,
    info_changed: Arc<Notify>,
    drain: &Drain,
) {
    let store = engine.store().clone();
    live.on_change(move |config| limits.set(config));
    follow_engine_limits(live, engine);
    live.follow(store, info_changed, drain.token());
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

/// Returns the settings of the engine. A virtual clock must not make commands due that are in flight.
fn dev_settings(config: &Config, args: &DevArgs) -> goconductor_transition::Settings {
    let settings = engine_settings(config);
    if args.virtual_time {
        return goconductor_transition::Settings { redelivery: clock::HELD, ..settings };
    }
    settings
}

fn executor_settings(
    config: &Config,
    args: &DevArgs,
    identity: String,
) -> goconductor_saga_executor::Settings {
    // With one process, one executor would lead all shards. The participants of a developer are on the same machine.
    goconductor_saga_executor::Settings {
        duty_shards: 1,
        virtual_time: args.virtual_time,
        outbound: config.executor.outbound.clone().with_loopback(),
        ..goconductor_saga_executor::settings(config, identity)
    }
}

fn print_banner(url: &str, config: &Config, args: &DevArgs) {
    log::print(&format!("GoConductor {} is ready", env!("CARGO_PKG_VERSION")));
    log::print(&format!("  console          {url}/ui/"));
    log::print(&format!("  API              {url}/api/v1"));
    let data = match location(config, args) {
        DatabaseLocation::SqliteEphemeral => "in memory, lost on exit".to_owned(),
        DatabaseLocation::Sqlite(file) | DatabaseLocation::SqliteReadOnly(file) => file.display().to_string(),
        DatabaseLocation::Postgres { .. } | DatabaseLocation::PostgresReadOnly { .. } => {
            "PostgreSQL".to_owned()
        }
    };
    log::print(&format!("  data             {data}"));
    if args.virtual_time {
        log::print(&format!("  virtual clock    {url}/dev/clock"));
    }
    if args.demo {
        let server = if url == DEFAULT_SERVER { String::new() } else { format!(" --server {url}") };
        log::print(&format!(
            "  try              goconductor workflow start order-processing{server} --wait --input \\"
        ));
        log::print(
            r#"                     '{"order_id":"o-1","amount":42,"items":[{"sku":"book","quantity":1}]}'"#,
        );
    }
}
