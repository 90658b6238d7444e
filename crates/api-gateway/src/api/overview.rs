//! The overview of a namespace: what needs a person, and figures about what runs.
//!
//! Everything that an overview reads is bounded: counters, a sample of the newest workflows, the due commands by service
//! and the members of the cluster. A gateway reads it at most once in [`FRESH`] for each namespace, however many consoles
//! are open.

mod figures;
mod snapshot;

use super::workflows::CountView;
use super::{Api, CallContext};
use crate::error::ApiResult;
use crate::time::Time;
use crate::view::{self, SummaryView};
use figures::RecentView;
use goconductor_saga::Status;
use goconductor_service_kit::permission::Permission;
use goconductor_store::Summary;
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;
use snapshot::OverviewFigures;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Time for which an overview is returned again.
const FRESH: Duration = Duration::from_secs(2);
/// Maximum namespaces whose overviews are kept.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Maximum overviews that are read at once.
const MAX_READS: usize = 2;

/// The overview of a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OverviewView {
    namespace: String,
    /// Time at which the figures were read.
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// Number of workflows by status.
    workflows: Vec<CountView>,
    recent: RecentView,
    errors: ErrorsView,
    stuck: StuckView,
    /// Number of paused workflows.
    paused: u64,
    /// Number of due commands.
    backlog: u64,
    /// Services with due commands, and services without an executor.
    services: Vec<ServiceLoadView>,
    /// Namespaces in use that the caller may read, as far as they are known: those of services.
    namespaces: Vec<String>,
    /// Dead letters of all namespaces. Null if the caller may not read them, or if they cannot be read.
    dead_letters: Option<DeadLetterCount>,
    /// Elections. Null if the caller may not read them, or if there is no election that responds.
    elections: Option<ElectionsView>,
    /// The switch to another queue. Null if none is in progress, or if the caller may not read it.
    queue_switch: Option<QueueSwitchView>,
}

/// The workflows in `ERROR`.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorsView {
    count: u64,
    /// The newest of them.
    workflows: Vec<SummaryView>,
}

/// Workflows that have run for more than an hour and have not ended.
#[derive(Debug, Serialize, ToSchema)]
struct StuckView {
    /// The newest of them.
    workflows: Vec<SummaryView>,
}

/// The load of a service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ServiceLoadView {
    service: String,
    /// Number of due commands.
    backlog: u64,
    /// Number of executors that serve the service.
    executors: u64,
    /// Number of connected workers.
    workers: u64,
    /// Whether an executor consumes the commands.
    is_served: bool,
}

/// The number of dead letters.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct DeadLetterCount {
    /// Number of dead letters, as far as they were counted.
    count: u64,
    /// Whether there are more.
    is_more: bool,
}

/// The elections.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ElectionsView {
    /// Number of elections with a leader.
    leaders: u64,
    /// Elections of the executors that have no leader.
    without_leader: Vec<String>,
}

/// A switch to another queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct QueueSwitchView {
    to: String,
    /// `CONSUMING_BOTH`, `PRODUCING`, `DRAINING`
    phase: Option<String>,
    /// Number of processes that have not applied the change yet.
    behind: u64,
}

/// The overviews that were read recently.
#[derive(Debug)]
pub(crate) struct Overviews {
    snapshots: Mutex<LruCache<String, (Instant, Arc<OverviewFigures>)>>,
    reads: Semaphore,
}

impl Default for Overviews {
    fn default() -> Self {
        Self { snapshots: Mutex::new(LruCache::new(CAPACITY)), reads: Semaphore::new(MAX_READS) }
    }
}

impl Overviews {
    fn fresh(&self, namespace: &str) -> Option<Arc<OverviewFigures>> {
        let mut snapshots = self.snapshots.lock();
        let (read_at, snapshot) = snapshots.get(namespace)?;
        (read_at.elapsed() < FRESH).then(|| Arc::clone(snapshot))
    }
}

impl Api {
    /// Returns the overview of the namespace.
    pub(crate) async fn overview(&self, context: &CallContext) -> ApiResult<OverviewView> {
        let namespace = context.namespace.as_str();
        let snapshot = match self.overviews.fresh(namespace) {
            Some(snapshot) => snapshot,
            None => self.read_overview(namespace).await?,
        };
        Ok(self.overview_view(context, &snapshot))
    }

    async fn read_overview(&self, namespace: &str) -> ApiResult<Arc<OverviewFigures>> {
        // The semaphore is never closed.
        let _permit = self.overviews.reads.acquire().await;
        // Another request may have read it while this one waited.
        if let Some(snapshot) = self.overviews.fresh(namespace) {
            return Ok(snapshot);
        }
        let snapshot = Arc::new(self.snapshot(namespace).await?);
        let entry = (Instant::now(), Arc::clone(&snapshot));
        self.overviews.snapshots.lock().put(namespace.to_owned(), entry);
        Ok(snapshot)
    }

    /// Builds the view for a caller, without what it may not read.
    fn overview_view(&self, context: &CallContext, snapshot: &OverviewFigures) -> OverviewView {
        let namespace = context.namespace.as_str();
        let may = |permission: Permission, namespace: &str| {
            context.principal.as_ref().is_none_or(|caller| caller.grants.allows(permission, namespace))
        };
        let redaction = self.redaction.for_caller(context);
        let summaries = |summaries: &[Summary]| {
            summaries
                .iter()
                .map(|summary| redaction.summary(view::summary(summary.clone())))
                .collect::<Vec<_>>()
        };
        let count = |status: Status| {
            let found = snapshot.counts.iter().find(|(value, _)| value == status.as_str());
            found.map_or(0, |(_, count)| *count)
        };
        OverviewView {
            namespace: namespace.to_owned(),
            at: snapshot.at.into(),
            workflows: snapshot
                .counts
                .iter()
                .map(|(value, count)| CountView { value: value.clone(), count: *count })
                .collect(),
            recent: snapshot.recent.clone(),
            errors: ErrorsView { count: count(Status::Error), workflows: summaries(&snapshot.errors) },
            stuck: StuckView { workflows: summaries(&snapshot.stuck) },
            paused: count(Status::Paused),
            backlog: snapshot.services.iter().map(|service| service.backlog).sum(),
            services: snapshot.services.iter().filter(|load| load.needs_attention()).cloned().collect(),
            namespaces: snapshot
                .namespaces
                .iter()
                .filter(|name| may(Permission::WorkflowsRead, name))
                .cloned()
                .collect(),
            dead_letters: snapshot.dead_letters.filter(|_| may(Permission::DeadLettersRead, namespace)),
            elections: snapshot.elections.clone().filter(|_| may(Permission::ElectionsRead, namespace)),
            queue_switch: snapshot.queue_switch.clone().filter(|_| may(Permission::QueuesRead, namespace)),
        }
    }
}

impl ServiceLoadView {
    fn needs_attention(&self) -> bool {
        self.backlog > 0 || !self.is_served
    }
}
