//! Payloads that workflows carry by reference. A view shows their values as long as the response stays small, and the
//! references otherwise. A payload itself is read in chunks, so its size does not matter.

use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::error::{ApiResult, NO_PAYLOAD, Problem};
use crate::redaction::Redaction;
use crate::view::{self, EventView, WorkflowView};
use futures::stream::{self, Stream, StreamExt};
use goconductor_saga::{Event, Json, PayloadDigest, PayloadRef, Plan, WorkflowId};
use goconductor_store::PAYLOAD_CHUNK_BYTES;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Maximum bytes of the payloads in a response. A gRPC client receives messages of up to 4 MiB by default.
const SHOWN_BYTES: u64 = 3_584 << 10;
/// The fields of an event that can be payloads.
const EVENT_VALUES: [&str; 3] = ["input", "output", "payload"];

/// Payloads that are masked at the same time. Each takes several times its text in memory, until it is a text again.
static MASKED_AT_ONCE: Semaphore = Semaphore::const_new(2);

/// The payloads that fit into a response.
pub(super) struct ShownPayloads<'a> {
    api: &'a Api,
    namespace: &'a str,
    id: WorkflowId,
    left: u64,
}

impl<'a> ShownPayloads<'a> {
    pub(super) fn new(api: &'a Api, namespace: &'a str, id: WorkflowId) -> Self {
        Self { api, namespace, id, left: SHOWN_BYTES }
    }

    /// Returns the payload that a value refers to, if it fits.
    async fn value(&mut self, value: &Json) -> Option<Arc<Json>> {
        let reference = PayloadRef::of(value).filter(|reference| reference.bytes <= self.left)?;
        match self.api.engine.payload(self.namespace, self.id, reference).await {
            Ok(payload) => {
                self.left -= reference.bytes;
                Some(payload)
            }
            // The rest of the workflow can be shown.
            Err(error) => {
                tracing::warn!(workflow = %self.id, digest = %reference.digest, %error, "payload was not read");
                None
            }
        }
    }

    /// Returns a value, or the payload that it refers to if it fits.
    pub(super) async fn shown(&mut self, mut value: Arc<Json>) -> Arc<Json> {
        self.replace(&mut value).await;
        value
    }

    async fn replace(&mut self, place: &mut Arc<Json>) {
        if let Some(payload) = self.value(place).await {
            *place = payload;
        }
    }

    /// Shows the payloads of a workflow: first its input and its output, then the outputs of its steps.
    pub(super) async fn workflow(&mut self, mut view: WorkflowView) -> WorkflowView {
        self.replace(&mut view.input).await;
        if let Some(output) = &mut view.output {
            self.replace(output).await;
        }
        for step in &mut view.steps {
            if let Some(output) = &mut step.output {
                self.replace(output).await;
            }
        }
        view
    }

    /// Shows the payload of an event.
    pub(super) async fn event(&mut self, mut view: EventView) -> EventView {
        for name in EVENT_VALUES {
            let Some(place) = view.detail.get_mut(name) else { continue };
            if let Some(payload) = self.value(place).await {
                *place = Arc::unwrap_or_clone(payload);
            }
        }
        view
    }

    /// Returns the views of events, with their payloads and without the masked fields.
    pub(super) async fn events(
        &mut self,
        plan: &Plan,
        redaction: &Redaction,
        events: &[Event],
    ) -> Vec<EventView> {
        let mut views = Vec::with_capacity(events.len());
        for event in events {
            views.push(redaction.event(self.event(view::event(plan, event)).await));
        }
        views
    }
}

impl Api {
    /// Reads a payload of a workflow: the JSON text, in chunks. Fields that are masked for the caller are masked in it.
    pub(crate) async fn read_payload(
        &self,
        context: &CallContext,
        id: &str,
        sha256: &str,
    ) -> ApiResult<impl Stream<Item = ApiResult<String>> + Send + use<>> {
        let loaded = self.load(context, parse_id(id)?).await?;
        let id = loaded.state.id;
        let none = || {
            let detail = format!("workflow {id} has no payload with the digest {sha256:?}");
            Problem::new(NO_PAYLOAD, detail)
        };
        let digest = PayloadDigest::parse(sha256).ok_or_else(none)?;
        let namespace = context.namespace.to_string();
        let first = self.engine.payload_chunk(&namespace, id, digest, 0).await?.ok_or_else(none)?;
        let redaction = self.redaction.for_caller(context);
        if redaction.masks() {
            // The payloads of a workflow that runs elements have the data of its parent at other paths.
            let redaction = redaction.of_definition(&loaded.state.definition);
            let masked = self.masked_payload(&redaction, &namespace, id, digest).await?;
            return Ok(stream::iter(parts(&masked).into_iter().map(Ok)).boxed());
        }
        let engine = Arc::clone(&self.engine);
        let rest = stream::try_unfold(1_u32, move |number| {
            let (engine, namespace) = (Arc::clone(&engine), namespace.clone());
            async move {
                let chunk = engine.payload_chunk(&namespace, id, digest, number).await?;
                Ok::<_, Problem>(chunk.map(|chunk| (chunk, number.saturating_add(1))))
            }
        });
        Ok(stream::once(async move { Ok(first) }).chain(rest).boxed())
    }

    /// Returns the text of a payload with masked fields, for which the whole value is needed.
    async fn masked_payload(
        &self,
        redaction: &Redaction,
        namespace: &str,
        id: WorkflowId,
        digest: PayloadDigest,
    ) -> ApiResult<String> {
        // Never closed.
        let _permit = MASKED_AT_ONCE.acquire().await;
        // The size is not known here, and is not used.
        let reference = PayloadRef { digest, bytes: 0 };
        let value = self.engine.payload(namespace, id, reference).await?;
        Ok(redaction.shared(&value).to_string())
    }
}

/// Splits a text into parts of the size of a chunk.
fn parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, more) = rest.split_at(rest.floor_char_boundary(PAYLOAD_CHUNK_BYTES));
        parts.push(part.to_owned());
        rest = more;
    }
    parts
}
