//! Which queue is in use, what waits in it, and the move of all processes to another one.

use crate::App;
use crate::error::{Answer, NO_QUEUE, Problem, ProblemBody, QUEUE_BUSY, QUEUE_DOWN, SOON};
use crate::extract::{Body, Caller};
use crate::moment::rfc3339;
use axum::Json;
use axum::extract::State;
use futures::StreamExt;
use goconductor_process::{MoveError, Queues, Status, served};
use goconductor_queue::Topic;
use goconductor_saga::{Side, Timestamp};
use goconductor_transition::topic_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Services whose backlog is asked for at once.
const AT_ONCE: usize = 16;
/// What a broker does not say within this time is left out.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(status, switch))
}

/// The queue to move to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SwitchBody {
    /// `kafka`, `kinesis`, `nats`, `rabbitmq`; during a move the queue that is being left, to turn it back
    to: String,
}

/// How all processes stand with their queue.
#[derive(Debug, Serialize, ToSchema)]
struct SwitchView {
    /// The queue in use; during a move the one that is being left.
    queue: String,
    /// The queue that all move to; null: they stay where they are.
    to: Option<String>,
    /// `CONSUMING_BOTH`, `PRODUCING`, `DRAINING`; null: there is no move.
    phase: Option<&'static str>,
    /// Since when it is so; null: since ever.
    since: Option<String>,
    /// One more at each change.
    revision: u64,
    /// Who asked for the move.
    actor: Option<String>,
    /// Processes that do not act by it yet.
    behind: Vec<UserView>,
    /// Commands in the queue that is being left; null: there is no move, or it does not answer.
    waiting: Option<u64>,
}

/// A process that uses queues.
#[derive(Debug, Serialize, ToSchema)]
struct UserView {
    instance: String,
    /// `api-gateway`, `saga-executor`
    kind: String,
}

/// What waits for each service.
#[derive(Debug, Serialize, ToSchema)]
struct QueueList {
    /// The queue in use: `memory`, `kafka`, `kinesis`, `nats`, `rabbitmq`
    queue: String,
    /// By namespace and name.
    services: Vec<BacklogView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct BacklogView {
    namespace: String,
    service: String,
    /// Whether somebody takes its commands.
    served: bool,
    execute: LaneView,
    compensate: LaneView,
}

#[derive(Debug, Serialize, ToSchema)]
struct LaneView {
    /// Commands that nobody has taken; null: the queue does not answer.
    waiting: Option<u64>,
    /// When the oldest of them was published.
    oldest_waiting_at: Option<String>,
}

/// List what waits in the queue, for each service of all namespaces
#[utoipa::path(get, path = "/queues", tag = "queues", responses((status = 200, body = QueueList)))]
async fn list(State(app): State<App>) -> Answer<Json<QueueList>> {
    let queue = match &app.queues {
        Some(queues) => queues.standing().await?.current,
        None => "memory".to_owned(),
    };
    let served = served(&app.store().members().await?);
    let known = app.store().services().await?;
    let known: BTreeSet<_> = known.into_iter().map(|service| (service.namespace, service.name)).collect();
    let all: BTreeSet<_> = known.union(&served).cloned().collect();
    let looks: Vec<_> = all.into_iter().map(|key| look(app.clone(), served.contains(&key), key)).collect();
    let services = futures::stream::iter(looks).buffered(AT_ONCE).collect().await;
    Ok(Json(QueueList { queue, services }))
}

async fn look(app: App, served: bool, (namespace, service): (String, String)) -> BacklogView {
    let (execute, compensate) = tokio::join!(
        lane(&app, topic_of(&namespace, &service, Side::Execute)),
        lane(&app, topic_of(&namespace, &service, Side::Compensate)),
    );
    BacklogView { namespace, service, served, execute, compensate }
}

async fn lane(app: &App, topic: Topic) -> LaneView {
    let found = tokio::time::timeout(ANSWER, app.conductor.queue().backlog(&topic)).await;
    let backlog = found.ok().and_then(Result::ok);
    let oldest = backlog.and_then(|backlog| backlog.oldest_waiting_ms);
    LaneView {
        waiting: backlog.map(|backlog| backlog.waiting),
        oldest_waiting_at: oldest.map(|at| rfc3339(Timestamp(at.saturating_mul(1000)))),
    }
}

/// Show which queue is in use, and how far a move to another one is
#[utoipa::path(get, path = "/queues/switch", tag = "queues", responses((status = 200, body = SwitchView)))]
async fn status(State(app): State<App>) -> Answer<Json<SwitchView>> {
    match &app.queues {
        Some(queues) => Ok(Json(view(queues.status().await?))),
        None => Ok(Json(SwitchView {
            queue: "memory".to_owned(),
            to: None,
            phase: None,
            since: None,
            revision: 0,
            actor: None,
            behind: Vec::new(),
            waiting: None,
        })),
    }
}

/// Move all processes to another queue while they run: it goes on by itself
#[utoipa::path(post, path = "/queues/switch", tag = "queues", request_body = SwitchBody,
    responses((status = 200, body = SwitchView),
        (status = 409, body = ProblemBody, description = "It is in use, another move is under way, or not all can reach it"),
        (status = 422, body = ProblemBody, description = "There is no such queue"),
        (status = 503, body = ProblemBody, description = "It does not answer")))]
async fn switch(
    State(app): State<App>,
    caller: Caller,
    Body(SwitchBody { to }): Body<SwitchBody>,
) -> Answer<Json<SwitchView>> {
    let queues: &Arc<Queues> = app.queues.as_ref().ok_or_else(|| {
        let detail = "the queue of this server is in its one process: run the services as processes of their own, \
                      with queue.backend set to a broker, to move between brokers";
        Problem::new(QUEUE_BUSY, detail)
    })?;
    Ok(Json(view(queues.switch(&to, caller.actor).await.map_err(refused)?)))
}

fn refused(error: MoveError) -> Problem {
    let detail = error.to_string();
    match error {
        MoveError::Unknown(..) => Problem::new(NO_QUEUE, detail.clone()).at("/to", detail),
        MoveError::InUse(_) | MoveError::Moving { .. } | MoveError::Lacking { .. } | MoveError::Raced => {
            Problem::new(QUEUE_BUSY, detail)
        }
        MoveError::Unreachable { .. } => Problem::new(QUEUE_DOWN, detail).after(SOON),
        MoveError::Store(error) => error.into(),
    }
}

fn view(status: Status) -> SwitchView {
    let Status { revision, standing, since, behind, waiting } = status;
    let behind = behind.into_iter().map(|user| UserView { instance: user.instance, kind: user.kind });
    let (to, phase, actor) = match standing.moving {
        Some(moving) => (Some(moving.to), Some(moving.phase.as_str()), moving.actor),
        None => (None, None, None),
    };
    SwitchView {
        queue: standing.current,
        to,
        phase,
        since: since.map(rfc3339),
        revision,
        actor,
        behind: behind.collect(),
        waiting,
    }
}
