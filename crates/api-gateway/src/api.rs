//! The operations of the API, typed.
//!
//! An operation takes a typed request and returns a typed view or a [`Problem`](crate::error::Problem). `rest` and
//! `grpc` translate their protocols to these types and back, so that both have the same behaviour. All rules about
//! names, limits, pages and filters are therefore here and not in the protocols.

pub(crate) mod access_keys;
pub(crate) mod audit;
pub(crate) mod batches;
pub(crate) mod config;
mod config_driver;
mod context;
pub(crate) mod dead_letters;
pub(crate) mod definitions;
pub(crate) mod elections;
pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod locks;
mod operate;
pub(crate) mod overview;
mod payloads;
pub(crate) mod processes;
pub(crate) mod queues;
mod reason;
pub(crate) mod relations;
pub(crate) mod repair;
pub(crate) mod schedules;
pub(crate) mod secrets;
pub(crate) mod services;
pub(crate) mod session;
mod signals;
pub(crate) mod simulate;
pub(crate) mod step_detail;
pub(crate) mod virtual_clock;
pub(crate) mod watch;
mod workflow_id;
pub(crate) mod workflows;

pub(crate) use crate::single_header::{MAX_HEADER_BYTES, header_text};
pub(crate) use context::{CallContext, admission_namespace};
pub(crate) use reason::MAX_REASON_CHARS;

use crate::Limits;
use crate::access::{Authorised, Gate};
use crate::admission::Admission;
use crate::audit::AuditLog;
use crate::error::{ApiResult, MALFORMED, PARAMETER, Problem, UNAUTHENTICATED};
use crate::list_feed::ListFeeds;
use crate::redaction::Redaction;
use crate::schemas::Schemas;
use crate::waiters::Waiters;
use goconductor_election::Hosted;
use goconductor_process::{LiveConfig, Vault};
use goconductor_queue_migration::QueueMigrator;
use goconductor_saga::Json;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::outbound::OutboundPolicy;
use goconductor_service_kit::telemetry::Metrics;
use goconductor_store::Store;
use goconductor_transition::Engine;
use overview::Overviews;
use parking_lot::RwLock;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// The largest page.
pub(crate) const MAX_PAGE_SIZE: u32 = 1000;

/// The operations of the API. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct Api(Arc<Inner>);

/// The state behind [`Api`].
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    /// The election, and the terms that gRPC clients hold through this gateway.
    pub(crate) hosted: Option<Arc<Hosted>>,
    pub(crate) queues: Option<Arc<QueueMigrator>>,
    /// The check of callers. `None` without access control.
    pub(crate) gate: Option<Gate>,
    pub(crate) audit: Arc<AuditLog>,
    /// Wakes the task that applies the operations of batches.
    pub(crate) batches_changed: Notify,
    /// The configuration of this process, which the API changes.
    pub(crate) config: Arc<LiveConfig>,
    /// Permits for checks of a changed configuration.
    pub(crate) config_checks: Semaphore,
    /// `None` if the process has no master key.
    pub(crate) vault: Option<Arc<Vault>>,
    /// The fields that responses mask.
    pub(crate) redaction: Redaction,
    pub(crate) limits: RwLock<Limits>,
    /// The addresses that services may have.
    pub(crate) outbound: OutboundPolicy,
    pub(crate) admission: Arc<Admission>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) list_feeds: Arc<ListFeeds>,
    pub(crate) schemas: Schemas,
    pub(crate) overviews: Overviews,
    /// Held while the virtual clock is moved to the next due time, so that no caller moves it past work of another.
    pub(crate) clock_moves: tokio::sync::Mutex<()>,
}

/// A page of a list.
#[derive(Debug, Default)]
pub(crate) struct PageRequest {
    /// 1 to 1000. `None` for the configured size.
    pub(crate) size: Option<u32>,
    /// The token of the previous page. Empty or `None` for the first page.
    pub(crate) token: Option<String>,
}

impl PageRequest {
    /// The token, unless the first page is requested.
    fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}

impl Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Inner {
    pub(crate) fn store(&self) -> &dyn Store {
        &**self.engine.store()
    }

    /// Returns the limits of a single request.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.read()
    }
}

impl Api {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Checks that the gate has let a request pass, so that a router without the gate serves nothing.
    pub(crate) fn check_gate(&self, authorised: Option<&Authorised>) -> ApiResult<()> {
        if self.gate.is_some() && authorised.is_none() {
            return Err(Problem::new(UNAUTHENTICATED, "the caller of the request was not checked"));
        }
        Ok(())
    }

    /// Checks that a JSON value inside `outer` levels is not nested too deeply.
    pub(crate) fn check_depth(&self, value: &Json, outer: usize) -> ApiResult<()> {
        let depth = self.limits().json_depth;
        if is_deeper(value, depth.saturating_sub(outer)) {
            let detail = format!("the JSON is nested deeper than the limit of {depth} levels");
            return Err(Problem::new(MALFORMED, detail));
        }
        Ok(())
    }

    /// Validates a page size.
    pub(crate) fn page_size(&self, size: Option<u32>) -> ApiResult<u32> {
        match size {
            None => Ok(self.limits().page_size.clamp(1, MAX_PAGE_SIZE)),
            Some(size) if (1..=MAX_PAGE_SIZE).contains(&size) => Ok(size),
            Some(size) => Err(Problem::new(
                PARAMETER,
                format!("invalid page_size {size}: it must be between 1 and {MAX_PAGE_SIZE}"),
            )),
        }
    }
}

/// Whether a value is nested deeper than `depth` levels.
fn is_deeper(value: &Json, depth: usize) -> bool {
    let Some(inner) = depth.checked_sub(1) else { return true };
    match value {
        Json::Array(items) => items.iter().any(|item| is_deeper(item, inner)),
        Json::Object(entries) => entries.values().any(|value| is_deeper(value, inner)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

/// Cuts a list to one page. The store was asked for one element more, which shows that another page follows.
/// Returns whether one does.
fn cut_to_page<T>(elements: &mut Vec<T>, size: u32) -> bool {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let is_more = elements.len() > size;
    elements.truncate(size);
    is_more
}

fn invalid_page_token() -> Problem {
    Problem::new(
        PARAMETER,
        "invalid page_token: use next_page_token of the previous page, or omit it for the first page",
    )
}
