//! The history of a workflow: read page by page, or followed as it grows.

use super::payloads::ShownPayloads;
use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::error::{ApiResult, Problem};
use crate::redaction::Redaction;
use crate::view::EventView;
use crate::waiters::Watch;
use futures::stream::{self, Stream, TryStreamExt};
use goconductor_saga::{EventKind, Plan, WorkflowId};
use goconductor_service_kit::fair::Permit;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The events that a stream reads at once. A stream keeps no more of them in memory, also while its client does not read.
const STREAM_BATCH: u32 = 32;

/// A page of a history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<EventView>,
    /// Number of the workflow's last event at the time of the request.
    pub(crate) last_seq: u64,
}

impl Api {
    /// Lists the events after `after_seq`, in order.
    pub(crate) async fn list_events(
        &self,
        context: &CallContext,
        id: &str,
        after_seq: u64,
        page_size: Option<u32>,
    ) -> ApiResult<EventPage> {
        let limit = self.page_size(page_size)?;
        let loaded = self.load(context, parse_id(id)?).await?;
        let plan = self.engine.plan_of(&loaded.state).await?;
        let namespace = context.namespace.as_str();
        let redaction = self.redaction.for_caller(context).of_definition(&plan.definition().name);
        let events = self.engine.history(namespace, loaded.state.id, after_seq, limit).await?;
        let mut payloads = ShownPayloads::new(self, namespace, loaded.state.id);
        let events = payloads.events(&plan, &redaction, &events).await;
        Ok(EventPage { events, last_seq: loaded.state.seq })
    }

    /// Follows a history from the event after `after_seq` to its last event. The stream ends early if the gateway
    /// shuts down.
    pub(crate) async fn follow_events(
        &self,
        context: &CallContext,
        id: &str,
        after_seq: u64,
    ) -> ApiResult<impl Stream<Item = ApiResult<EventView>> + Send + use<>> {
        let loaded = self.load(context, parse_id(id)?).await?;
        let plan = self.engine.plan_of(&loaded.state).await?;
        let permit = self.admission.admit_waiting(context.namespace.as_str(), context.permit.as_ref())?;
        let id = loaded.state.id;
        let redaction =
            self.redaction.for_caller(context).of_definition(&plan.definition().name).into_owned();
        let follower = Follower {
            api: self.clone(),
            namespace: context.namespace.to_string(),
            id,
            plan,
            watch: self.waiters.watch(id),
            after_seq,
            has_ended: false,
            redaction,
            _permit: permit,
        };
        Ok(follower.stream())
    }
}

/// The position of a stream in a history.
struct Follower {
    api: Api,
    namespace: String,
    id: WorkflowId,
    plan: Arc<Plan>,
    watch: Watch,
    after_seq: u64,
    has_ended: bool,
    redaction: Redaction,
    /// Counts the stream among the waiting callers until it ends.
    _permit: Permit,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = ApiResult<EventView>> + Send {
        stream::try_unfold(self, Self::next)
            .map_ok(|events| stream::iter(events.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Returns the next events, or `None` at the end.
    async fn next(mut self) -> Result<Option<(Vec<EventView>, Self)>, Problem> {
        while !self.has_ended {
            let engine = &self.api.engine;
            let events = engine.history(&self.namespace, self.id, self.after_seq, STREAM_BATCH).await?;
            let Some(last) = events.last() else {
                if !self.watch.past(self.after_seq).await {
                    break;
                }
                continue;
            };
            self.after_seq = last.seq;
            self.has_ended = is_final(&last.kind);
            let mut payloads = ShownPayloads::new(&self.api, &self.namespace, self.id);
            let views = payloads.events(&self.plan, &self.redaction, &events).await;
            return Ok(Some((views, self)));
        }
        Ok(None)
    }
}

/// Whether an event is the last of its history.
fn is_final(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::WorkflowCompleted { .. }
            | EventKind::WorkflowRolledBack {}
            | EventKind::WorkflowTerminated { .. }
    )
}
