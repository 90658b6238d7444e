//! GoConductor in the test's process: a gateway and an executor over SQLite and the in-process queue.

use goconductor::Conductor;
use goconductor_access::AccessControl;
use goconductor_api_gateway as gateway;
use goconductor_definition::Cel;
use goconductor_election::{Election, local::LocalElection};
use goconductor_process::{ConnectionLimits, LimitedListener, MembershipLease};
use goconductor_queue::memory::{Limits as QueueLimits, MemoryQueue};
use goconductor_saga_executor::{Executor, Settings as ExecutorSettings};
use goconductor_service_kit::config::{AccessConfig, Config, Sources};
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::{self, Identity};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{AccessKeyStore, Store};
use goconductor_transition::{Engine, Settings, clock};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running server. Its tasks end with the test's runtime, or by [`stop`](Self::stop).
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    gateway: JoinHandle<()>,
    executor: JoinHandle<()>,
    membership: MembershipLease,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a server with access control.
    pub(crate) async fn start_with(access: Option<AccessConfig>) -> Self {
        let config = Config::load(&Sources::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store =
            Arc::new(BatchingStore::new(Arc::new(SqliteStore::ephemeral().unwrap()), Limits::default()));
        let changes = store.changes();
        let store: Arc<dyn Store> = store;
        let election: Arc<dyn Election> = Arc::new(LocalElection::new(1));
        let queue = Arc::new(MemoryQueue::new(QueueLimits::default()));
        let engine = Engine::new(Arc::clone(&store), queue, Arc::new(Cel::new()), Settings::default());
        let settings = ExecutorSettings::default();
        let instance = settings.identity.clone();
        let keys: Arc<dyn AccessKeyStore> = store.clone();
        let access = access.map(|access| AccessControl::start(access, keys, clock::now).unwrap());
        let executor = Executor::new(Arc::clone(&engine), Arc::clone(&election), settings)
            .with_access_control(access.clone());
        let info = executor.process_info();
        let membership = MembershipLease::start("saga-executor", &instance, address, store, info);
        let stop = CancellationToken::new();
        let workers = executor.worker_service(stop.clone());
        let dependencies = gateway::Dependencies {
            engine,
            election: Some(election),
            queues: None,
            config: gateway::LiveConfig::new(config.clone(), None),
            vault: None,
            redact: Vec::new(),
            changes,
            limits: gateway::limits(&config),
            outbound: config.executor.outbound.clone().with_loopback(),
            admission: gateway::admission(&config),
            access,
            audit_starts: config.audit.starts,
            readiness: Readiness::new(),
            metrics: telemetry::init(&config.telemetry, Identity { service: "test", instance: "test-1" })
                .unwrap(),
            stop: stop.clone(),
        };
        let connections = LimitedListener::new(listener, ConnectionLimits::of_clients(&config.limits));
        let gateway =
            tokio::spawn(gateway::serve(connections, dependencies, |calls| calls.add_service(workers)));
        let executor = tokio::spawn(executor.run(stop.clone()));
        Self { address, stop, gateway, executor, membership }
    }

    /// Returns a client of the server.
    pub(crate) fn conductor(&self) -> Conductor {
        Conductor::connect(&self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the server and waits until its address is free.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.membership.withdraw().await;
        self.executor.await.unwrap();
        self.gateway.await.unwrap();
    }
}
