//! REST for people and clients.
//!
//! [`router`] is the whole surface; [`serve`] holds it on a listener until it is told to end.
//!
//! The gateway deliberately decides nothing about a workflow: it reads what people send, hands it to the
//! [`Conductor`], and shows what is stored.
//!
//! Invariants: no input makes a 5xx or a panic; every refusal is `application/problem+json` with a stable
//! code that has a page; an answer that says that something was done is given once it is durable.

mod admission;
mod error;
mod extract;
mod filter;
mod grpc;
mod guard;
mod measure;
mod moment;
pub mod pages;
mod routes;
mod run;
mod schemas;
mod view;
mod waiters;

use admission::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use goconductor_election::{Election, Hosted};
use goconductor_process::{Connections, Queues};
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::Metrics;
use goconductor_store::{Seen, Store};
use goconductor_transition::Conductor;
use schemas::Schemas;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt;
use waiters::Waiters;

pub use admission::Limits as AdmissionLimits;
pub use run::{admission, limits, run};

/// How long calls under way may take to end, once the gateway is told to.
const DRAIN: Duration = Duration::from_secs(5);

/// What the gateway stands on.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Starts workflows, hands in news, reads.
    pub conductor: Arc<Conductor>,
    /// Who leads what; none: that is not known here.
    pub election: Option<Arc<dyn Election>>,
    /// Which queue is used, if there is more than the one of this process.
    pub queues: Option<Arc<Queues>>,
    /// Every durable change that this process writes, as it is written; others' are polled for.
    pub changes: broadcast::Sender<Seen>,
    /// How much one call may bring and take.
    pub limits: Limits,
    /// How much is taken in at once.
    pub admission: AdmissionLimits,
    /// What `/readyz` asks.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Ends what waits: long polls, streams, and in the end the gateway.
    pub stop: CancellationToken,
}

/// How much one call may bring and take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How deeply a JSON body is nested.
    pub json_depth: usize,
    /// Bytes of a workflow's input, as JSON.
    pub input_bytes: usize,
    /// Elements of a page, unless it is asked for otherwise.
    pub page_size: u32,
}

/// What every handler has.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) conductor: Arc<Conductor>,
    /// The election, with what is held in it through this gateway.
    pub(crate) hosted: Option<Arc<Hosted>>,
    pub(crate) queues: Option<Arc<Queues>>,
    pub(crate) changes: broadcast::Sender<Seen>,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) schemas: Schemas,
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    pub(crate) fn store(&self) -> &dyn Store {
        &**self.conductor.store()
    }
}

/// The whole surface. To be called within a runtime: what waits for changes is its task.
pub fn router(dependencies: Dependencies) -> Router {
    router_with(dependencies, |calls| calls)
}

/// The whole surface, with further gRPC services on the same port.
pub fn router_with(dependencies: Dependencies, more: impl FnOnce(Routes) -> Routes) -> Router {
    measure::describe();
    let Dependencies { conductor, election, queues, changes, limits, admission, readiness, metrics, stop } =
        dependencies;
    let waiters = Waiters::new(Arc::clone(&conductor), &changes, stop.clone());
    let schemas = Schemas::default();
    let admission = Admission::new(admission);
    let app = App(Arc::new(Inner {
        conductor,
        hosted: election.map(Hosted::new),
        queues,
        changes,
        limits,
        admission,
        readiness,
        metrics,
        stop,
        waiters,
        schemas,
    }));
    drop(tokio::spawn(admission::follow(app.clone())));
    let rest = routes::all(app.clone());
    let calls = grpc::routes(rest.clone(), app, more);
    // What is called by gRPC says so; everything else is REST's, its refusals of unknown paths included.
    let both = Both { rest, calls };
    Router::new().fallback(either).with_state(both)
}

/// The two forms of one API.
#[derive(Clone)]
struct Both {
    rest: Router,
    calls: Router,
}

async fn either(State(both): State<Both>, request: Request) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_call = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let router = if is_call { both.calls } else { both.rest };
    match router.oneshot(request).await {
        Ok(response) => response,
    }
}

/// Serves, with further gRPC services, until the dependencies' `stop`, then until the calls under way have ended, for a while.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    dependencies: Dependencies,
    more: impl FnOnce(Routes) -> Routes,
) -> std::io::Result<()> {
    let stop = dependencies.stop.clone();
    let connections = Connections::new(listener, dependencies.admission.connections);
    let router = router_with(dependencies, more);
    let serving = goconductor_process::serve(connections, router, stop.clone());
    let give_up = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    // Both are safe to cancel: what is cut off after the drain has had its time.
    tokio::select! {
        served = serving => served.map_err(std::io::Error::other),
        () = give_up => {
            tracing::warn!("calls were under way for longer than the drain");
            Ok(())
        }
    }
}
