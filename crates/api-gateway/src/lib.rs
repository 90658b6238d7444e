//! The API gateway: REST, gRPC and the web console on one port.
//!
//! `api` holds the operations of the API, typed. `rest` and `grpc` are codecs for them. [`router`] combines
//! both, and [`serve`] serves it on a listener until shutdown.
//!
//! The gateway deliberately decides nothing about a workflow: it passes requests to the [`Engine`] and shows
//! stored state.
//!
//! Invariants: no input causes a 5xx or a panic. Each refused request gets a stable error code that has a page. A
//! successful response is sent only after the change is durable.

mod access;
mod admission;
mod api;
mod audit;
mod audit_notes;
mod batch_runner;
mod console;
mod error;
mod filter;
mod grpc;
mod list_feed;
pub mod metrics;
pub mod pages;
mod recorded;
mod redaction;
mod request;
mod rest;
mod run;
mod schemas;
mod server_span;
mod session;
mod single_header;
mod time;
mod view;
mod waiters;

use access::Gate;
use admission::{Admission, limit_message};
use api::Api;
use audit::AuditLog;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use error::{Problem, TOO_MANY_HEADERS};
use goconductor_access::AccessControl;
use goconductor_election::{Election, Hosted};
use goconductor_process::{LimitedListener, Vault};
use goconductor_queue_migration::QueueMigrator;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::outbound::OutboundPolicy;
use goconductor_service_kit::telemetry::Metrics;
use goconductor_store::WorkflowHead;
use goconductor_transition::Engine;
use list_feed::ListFeeds;
use parking_lot::RwLock;
use redaction::Redaction;
use schemas::Schemas;
use session::Sessions;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;
use waiters::Waiters;

pub use admission::Limits as AdmissionLimits;
pub use goconductor_process::LiveConfig;
pub use grpc::GrpcRoutes;
pub use run::{access_control, admission, limits, run};

/// Maximum number of the headers of a request. HTTP/1 has the same limit.
const MAX_HEADERS: usize = 100;
/// The time for which shutdown waits for requests in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The most changes of the configuration that are checked at once. Each connects to brokers and backends.
const MAX_CONFIG_CHECKS: usize = 2;

/// The dependencies of the gateway.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Starts workflows, applies inputs and reads state.
    pub engine: Arc<Engine>,
    /// The election. `None` if the configuration has none that reaches other processes.
    pub election: Option<Arc<dyn Election>>,
    /// The queues of the cluster. `None` if all services run in this process.
    pub queues: Option<Arc<QueueMigrator>>,
    /// The configuration of this process, which the API changes.
    pub config: Arc<LiveConfig>,
    /// The secrets. `None` if no master key is configured.
    pub vault: Option<Arc<Vault>>,
    /// Paths of fields that responses mask, such as `$.card.number`.
    pub redact: Vec<String>,
    /// The durable changes that this process receives. Changes of other processes that are not pushed are polled.
    pub changes: broadcast::Sender<WorkflowHead>,
    /// Limits of a single request.
    pub limits: Limits,
    /// The addresses that services may have.
    pub outbound: OutboundPolicy,
    /// Limits on what is accepted at once.
    pub admission: AdmissionLimits,
    /// The check of callers. `None` if all callers may do everything.
    pub access: Option<AccessControl>,
    /// Whether the audit log also records requests of applications, such as starts.
    pub audit_starts: bool,
    /// Readiness for `/readyz`.
    pub readiness: Readiness,
    /// Metrics for `/metrics`.
    pub metrics: Metrics,
    /// Shuts down the gateway: first long polls and streams, then the server.
    pub stop: CancellationToken,
}

/// Limits of a single request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of a body, in bytes.
    pub body_bytes: usize,
    /// Size of a body that carries an input, an output or the payload of a signal, in bytes.
    pub payload_body_bytes: usize,
    /// Nesting depth of a JSON body.
    pub json_depth: usize,
    /// Size of a workflow's input as JSON, in bytes.
    pub input_bytes: usize,
    /// Size of a page if the request does not set one.
    pub page_size: u32,
}

/// Builds the router of the gateway. Must be called within a Tokio runtime, because it spawns background tasks.
pub fn router(dependencies: Dependencies) -> Router {
    router_with(dependencies, |routes| routes)
}

/// Builds the router of the gateway with `more` gRPC services on the same port.
pub fn router_with(dependencies: Dependencies, more: impl FnOnce(GrpcRoutes) -> GrpcRoutes) -> Router {
    let api = api(dependencies);
    api.follow_config();
    drop(goconductor_supervisor::spawn("backlog-monitor", admission::monitor(api.clone())));
    drop(goconductor_supervisor::spawn("batch-runner", batch_runner::run(api.clone())));
    let (rest, grpc) = (rest::router(api.clone()), grpc::router(api.clone(), more));
    Router::new().fallback(dispatch).with_state(Protocols { rest, grpc, api })
}

/// Creates the operations of the API.
fn api(dependencies: Dependencies) -> Api {
    goconductor_telemetry::describe(self::metrics::ALL);
    let Dependencies {
        engine,
        election,
        queues,
        config,
        vault,
        redact,
        changes,
        limits,
        outbound,
        admission,
        access,
        audit_starts,
        readiness,
        metrics,
        stop,
    } = dependencies;
    let redaction = Redaction::new(&redact);
    let audit = AuditLog::start(engine.store().clone(), audit_starts, stop.clone());
    let admission = Arc::new(Admission::new(admission));
    let gate = access.map(|access| Gate {
        sessions: Arc::new(Sessions::new(&access, config.started_with(), vault.clone())),
        access,
        audit: Arc::clone(&audit),
        admission: Arc::clone(&admission),
    });
    Api::new(api::Inner {
        waiters: Waiters::new(Arc::clone(&engine), &changes, stop.clone()),
        list_feeds: ListFeeds::new(Arc::clone(&engine), redaction.clone(), changes, stop.clone()),
        engine,
        hosted: election.map(Hosted::new),
        queues,
        gate,
        audit,
        batches_changed: Notify::new(),
        config,
        config_checks: Semaphore::new(MAX_CONFIG_CHECKS),
        vault,
        redaction,
        limits: RwLock::new(limits),
        outbound,
        admission,
        readiness,
        metrics,
        stop,
        schemas: Schemas::default(),
        overviews: api::overview::Overviews::default(),
        clock_moves: tokio::sync::Mutex::default(),
    })
}

/// The routers of the two protocols.
#[derive(Clone)]
struct Protocols {
    rest: Router,
    grpc: Router,
    api: Api,
}

/// Dispatches gRPC calls by their content type. All other requests, with unknown paths as well, are REST.
async fn dispatch(State(protocols): State<Protocols>, mut request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if request.headers().len() > MAX_HEADERS {
        let detail =
            format!("the request has {} headers, and the limit is {MAX_HEADERS}", request.headers().len());
        let problem = Problem::new(TOO_MANY_HEADERS, detail);
        return if is_grpc { tonic::Status::from(problem).into_http() } else { problem.into_response() };
    }
    let router = if is_grpc {
        request = limit_message(&protocols.api, request);
        protocols.grpc
    } else {
        protocols.rest
    };
    let serve = |request: Request| async move {
        match router.oneshot(request).await {
            Ok(response) => response,
        }
    };
    let span = server_span::begin(&mut request, is_grpc);
    let held = protocols.api.admission.serve_held(request, is_grpc, serve);
    let response = held.instrument(span.clone()).await;
    server_span::end(&span, &response, is_grpc);
    response
}

/// Serves the gateway on a listener, with `more` gRPC services until `dependencies.stop` is cancelled, then waits up to 5 seconds
/// for requests in flight.
pub async fn serve(
    connections: LimitedListener,
    dependencies: Dependencies,
    more: impl FnOnce(GrpcRoutes) -> GrpcRoutes,
) {
    let stop = dependencies.stop.clone();
    let router = router_with(dependencies, more);
    let serving = goconductor_process::serve(connections, router, stop.clone());
    let drain_timeout = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    // Both branches are safe to cancel: requests that are cut off had the time to finish.
    tokio::select! {
        () = serving => {}
        () = drain_timeout => {
            tracing::warn!(timeout = ?DRAIN_TIMEOUT, "shutdown cut off requests in flight");
        }
    }
}
