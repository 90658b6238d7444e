//! Workflows and their histories.

use super::{encoded, into_status};
use goconductor_saga::TraceContext;
use goconductor_store::{WorkflowStore, Write, WriteTrace};
use goconductor_telemetry::trace;
use goconductor_wire::internal as wire;
use goconductor_wire::store::filter::field_of;
use goconductor_wire::store::{self as codec, id, id_bytes, value, write_of};
use tonic::Status;
use tracing::Span;

pub(super) async fn write(
    store: &dyn WorkflowStore,
    request: wire::WriteRequest,
) -> Result<wire::WriteResponse, Status> {
    let writes = request.writes.into_iter();
    let batch: Vec<Write> = writes.map(write_of).collect::<Result<_, _>>()?;
    let spans: Vec<Span> = batch.iter().filter_map(|write| write_span(write, batch.len())).collect();
    let written = store.write(batch).await;
    if let Err(error) = &written {
        spans.iter().for_each(|span| trace::set_error(span, "store", || error.to_string()));
    }
    drop(spans);
    let outcomes = into_status(written)?;
    let outcomes: Result<_, _> = outcomes.iter().map(TryInto::try_into).collect();
    encoded(outcomes.map(|outcomes| wire::WriteResponse { outcomes }))
}

/// Creates the span of one write of a batch, if its trace is recorded.
fn write_span(write: &Write, batch: usize) -> Option<Span> {
    let transition = match write {
        Write::Start(new) => &new.write,
        Write::Transition(transition) => transition,
    };
    let WriteTrace { parent: TraceContext { traceparent, tracestate }, commit } =
        transition.trace.as_ref()?;
    let parent = trace::SpanContext::read(Some(traceparent), tracestate.as_deref())?;
    let record = &transition.record;
    let span = tracing::debug_span!(
        target: trace::TARGET,
        "write",
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = "goconductor.internal.v1.StateStoreService",
        rpc.method = "Write",
        db.operation.name = "commit",
        db.operation.batch.size = batch,
        goconductor.workflow.id = %record.id,
        goconductor.workflow.seq = record.seq,
    );
    trace::set_parent(&span, &parent);
    if let Some(commit) = trace::SpanContext::read(Some(commit), None) {
        trace::add_link(&span, &commit);
    }
    Some(span)
}

pub(super) async fn load(
    store: &dyn WorkflowStore,
    request: wire::LoadRequest,
) -> Result<wire::LoadResponse, Status> {
    let found = into_status(store.load_encoded(&codec::ids(&request.ids)?).await)?;
    let workflows = found.iter().map(|found| wire::MaybeLoaded { workflow: found.as_ref().map(Into::into) });
    Ok(wire::LoadResponse { workflows: workflows.collect() })
}

pub(super) async fn history(
    store: &dyn WorkflowStore,
    request: wire::HistoryRequest,
) -> Result<wire::HistoryResponse, Status> {
    let wire::HistoryRequest { id: bytes, after_seq, limit } = request;
    let events = into_status(store.history(id(&bytes)?, after_seq, limit).await)?;
    let events: Result<_, _> = events.iter().map(|event| value("an event", event)).collect();
    encoded(events.map(|event_jsons| wire::HistoryResponse { event_jsons }))
}

pub(super) async fn seen(
    store: &dyn WorkflowStore,
    request: wire::SeenRequest,
) -> Result<wire::SeenResponse, Status> {
    let seen = into_status(store.heads(&codec::ids(&request.ids)?).await)?;
    Ok(wire::SeenResponse { workflows: seen.into_iter().map(Into::into).collect() })
}

pub(super) async fn list(
    store: &dyn WorkflowStore,
    request: wire::ListRequest,
) -> Result<wire::ListResponse, Status> {
    let page = into_status(store.list(&request.try_into()?).await)?;
    encoded((&page).try_into())
}

pub(super) async fn counts(
    store: &dyn WorkflowStore,
    request: wire::CountsRequest,
) -> Result<wire::CountsResponse, Status> {
    let by = field_of(request.by(), request.label)?;
    let filter = request.filter.map(TryInto::try_into).transpose()?;
    let counts = into_status(store.counts(&request.namespace, by, filter.as_ref()).await)?;
    let counts = counts.into_iter().map(|count| wire::Count { value: count.value, count: count.count });
    Ok(wire::CountsResponse { counts: counts.collect() })
}

pub(super) async fn ids(
    store: &dyn WorkflowStore,
    request: wire::IdsRequest,
) -> Result<wire::IdsResponse, Status> {
    let wire::IdsRequest { after, limit } = request;
    let after = if after.is_empty() { None } else { Some(id(&after)?) };
    let found = into_status(store.ids(after, limit).await)?;
    let ids = found.into_iter().map(id_bytes).collect();
    Ok(wire::IdsResponse { ids })
}
