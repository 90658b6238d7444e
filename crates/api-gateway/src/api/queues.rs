//! Queues: the queue in use, its backlog, and the switch of all processes to another queue.

use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, NO_QUEUE, Problem, QUEUE_CONFLICT, QUEUE_UNAVAILABLE, RETRY_AFTER};
use crate::time::Time;
use futures::StreamExt;
use goconductor_queue::Topic;
use goconductor_queue_migration::{MigrationError, MigrationPhase, MigrationStatus, QueueMigrator, served};
use goconductor_saga::Side;
use goconductor_transition::topic_of;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The most services whose backlog is requested concurrently.
const MAX_CONCURRENT_QUERIES: usize = 16;
/// The timeout of a query of a backlog. A backlog that is not known by then is left out.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The queue of a server that runs in one process.
const MEMORY: &str = "memory";

/// The queue in use, and the switch to another one.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SwitchView {
    /// The queue in use. During a switch, the queue that is being left.
    pub(crate) queue: String,
    /// Target of the switch. Null if no switch is in progress.
    pub(crate) to: Option<String>,
    /// `CONSUMING_BOTH`, `PRODUCING`, `DRAINING`. Null if no switch is in progress.
    #[schema(value_type = Option<String>)]
    pub(crate) phase: Option<MigrationPhase>,
    /// Time of the last change. Null if the queue has never been switched.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) since: Option<Time>,
    /// Revision. Each change increments it.
    pub(crate) revision: u64,
    /// Caller who requested the switch.
    pub(crate) actor: Option<String>,
    /// Processes that have not applied the revision yet.
    pub(crate) behind: Vec<QueueUserView>,
    /// Number of commands in the queue that is being left. Null if no switch is in progress or the queue does not
    /// respond.
    pub(crate) waiting: Option<u64>,
}

/// A process that uses the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueUserView {
    pub(crate) instance: String,
    /// `api-gateway`, `saga-executor`
    pub(crate) kind: String,
}

/// The backlog of all services.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueList {
    /// The queue in use: `memory`, `kafka`, `kinesis`, `nats`, `rabbitmq`
    pub(crate) queue: String,
    /// Services, ordered by namespace and name.
    pub(crate) services: Vec<BacklogView>,
}

/// The backlog of a service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BacklogView {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// Whether an executor consumes the service's commands.
    pub(crate) served: bool,
    pub(crate) execute: LaneView,
    pub(crate) compensate: LaneView,
}

/// The backlog of one side of a service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LaneView {
    /// Number of commands that no consumer has received. Null if the queue does not respond.
    pub(crate) waiting: Option<u64>,
    /// Publication time of the oldest of these commands.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) oldest_waiting_at: Option<Time>,
}

impl Api {
    /// Returns the backlog of the services of all namespaces.
    pub(crate) async fn list_queues(&self) -> ApiResult<QueueList> {
        let queue = match &self.queues {
            Some(queues) => queues.migration().await?.current,
            None => MEMORY.to_owned(),
        };
        let served = served(&self.store().members().await?);
        let registered = self.store().services().await?;
        let registered: BTreeSet<_> =
            registered.into_iter().map(|service| (service.namespace, service.name)).collect();
        let all: BTreeSet<_> = registered.union(&served).cloned().collect();
        let queries: Vec<_> =
            all.into_iter().map(|key| self.clone().service_backlog(served.contains(&key), key)).collect();
        let services = futures::stream::iter(queries).buffered(MAX_CONCURRENT_QUERIES).collect().await;
        Ok(QueueList { queue, services })
    }

    /// Returns the queue in use and the progress of a switch.
    pub(crate) async fn queue_switch(&self) -> ApiResult<SwitchView> {
        match &self.queues {
            Some(queues) => Ok(view(queues.status().await?)),
            None => Ok(SwitchView { queue: MEMORY.to_owned(), ..SwitchView::default() }),
        }
    }

    /// Begins the switch of all processes to another queue. It continues without further requests.
    pub(crate) async fn switch_queue(&self, context: &CallContext, to: &str) -> ApiResult<SwitchView> {
        audit_notes::target("queue", to);
        let queues: &Arc<QueueMigrator> = self.queues.as_ref().ok_or_else(|| {
            let detail = "cannot switch the queue of this server, because it is in its one process: run the services \
                          as separate processes with queue.backend set to a broker";
            Problem::new(QUEUE_CONFLICT, detail)
        })?;
        Ok(view(queues.request(to, context.actor.clone()).await?))
    }

    async fn service_backlog(self, served: bool, (namespace, service): (String, String)) -> BacklogView {
        let (execute, compensate) = tokio::join!(
            self.lane_backlog(topic_of(&namespace, &service, Side::Execute)),
            self.lane_backlog(topic_of(&namespace, &service, Side::Compensate)),
        );
        BacklogView { namespace, service, served, execute, compensate }
    }

    async fn lane_backlog(&self, topic: Topic) -> LaneView {
        let found = tokio::time::timeout(QUERY_TIMEOUT, self.engine.queue().backlog(&topic)).await;
        let backlog = found.ok().and_then(Result::ok);
        let oldest = backlog.and_then(|backlog| backlog.oldest_waiting_ms);
        LaneView {
            waiting: backlog.map(|backlog| backlog.waiting),
            oldest_waiting_at: oldest.map(Time::from_millis),
        }
    }
}

impl From<MigrationError> for Problem {
    fn from(error: MigrationError) -> Self {
        let detail = error.to_string();
        match error {
            MigrationError::Unknown(..) => Self::new(NO_QUEUE, detail.clone()).at("/to", detail),
            MigrationError::InUse(_)
            | MigrationError::InProgress { .. }
            | MigrationError::NotConfigured { .. }
            | MigrationError::Conflict => Self::new(QUEUE_CONFLICT, detail),
            MigrationError::Unavailable { .. } => {
                Self::new(QUEUE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
            }
            MigrationError::Store(error) => error.into(),
        }
    }
}

fn view(status: MigrationStatus) -> SwitchView {
    let MigrationStatus { revision, migration, since, behind, waiting } = status;
    let behind = behind.into_iter().map(|user| QueueUserView { instance: user.instance, kind: user.kind });
    let (to, phase, actor) = match migration.target {
        Some(target) => (Some(target.queue), Some(target.phase), target.actor),
        None => (None, None, None),
    };
    SwitchView {
        queue: migration.current,
        to,
        phase,
        since: since.map(Time),
        revision,
        actor,
        behind: behind.collect(),
        waiting,
    }
}
