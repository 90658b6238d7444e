//! The spans of the engine, and the trace of a workflow.
//!
//! A workflow keeps the span that started it. The spans of its commands are children of that span, in whichever process
//! they run. A command names the span that published it, which the span of its attempt is linked to.

use crate::Command;
use goconductor_queue::Topic;
use goconductor_saga::{State, TraceContext};
use goconductor_store::{EncodedTransition, WriteOutcome, WriteTrace};
use goconductor_telemetry::trace::{self, SpanContext, TARGET};
use std::sync::Arc;
use tracing::Span;

/// Returns the span that started a workflow.
#[must_use]
pub fn started_by(state: &State) -> Option<SpanContext> {
    state.trace.as_deref().map(span_context)
}

/// Converts a stored trace context.
#[must_use]
pub fn span_context(stored: &TraceContext) -> SpanContext {
    SpanContext { traceparent: stored.traceparent.clone(), tracestate: stored.tracestate.clone() }
}

/// Converts the context of a span to its stored form.
#[must_use]
pub fn stored(context: SpanContext) -> Arc<TraceContext> {
    let SpanContext { traceparent, tracestate } = context;
    Arc::new(TraceContext { traceparent, tracestate })
}

/// Returns the span that causes a change of a workflow: the current span or, if a timer causes it, the span that started
/// the workflow. Returns `None` if the trace is not recorded.
pub(crate) fn cause(state: &State) -> Option<SpanContext> {
    if !trace::is_on() {
        return None;
    }
    trace::current().or_else(|| started_by(state)).filter(SpanContext::is_sampled)
}

/// Returns the current span, to run a part of its work in another task.
pub(crate) fn current_span() -> Span {
    if trace::is_on() { Span::current() } else { Span::none() }
}

/// Returns the contexts of all spans but the first one that has a context.
pub(crate) fn further_contexts(spans: &[Span]) -> Vec<SpanContext> {
    if !trace::is_on() {
        return Vec::new();
    }
    spans.iter().filter_map(trace::context_of).skip(1).collect()
}

/// Creates the span of a commit, and the trace of its write. `causes` are further spans whose inputs the transition
/// contains.
pub(crate) fn commit_span(
    record: &EncodedTransition,
    state: &State,
    causes: &[SpanContext],
) -> (Span, Option<WriteTrace>) {
    let Some(cause) = cause(state) else { return (Span::none(), None) };
    let span = tracing::debug_span!(
        target: TARGET,
        "commit",
        otel.kind = "client",
        db.operation.name = "commit",
        goconductor.workflow.id = %record.id,
        goconductor.workflow.seq = record.seq,
        goconductor.workflow.status = record.status.as_str(),
        goconductor.workflow.events = record.events.len(),
    );
    trace::set_parent(&span, &cause);
    // The request of an operator has a trace of its own.
    let is_own = |started: &SpanContext| started.trace_id() == cause.trace_id();
    let (parent, other) = match started_by(state) {
        Some(started) if is_own(&started) => (started, None),
        started => (cause, started),
    };
    for linked in causes.iter().chain(&other) {
        trace::add_link(&span, linked);
    }
    let write = trace::context_of(&span).map(|context| WriteTrace {
        parent: TraceContext { traceparent: parent.traceparent, tracestate: parent.tracestate },
        commit: context.traceparent,
    });
    (span, write)
}

/// Records the outcome of a commit.
pub(crate) fn record_outcome(span: &Span, outcome: &Result<WriteOutcome, crate::Error>) {
    let text = match outcome {
        Ok(WriteOutcome::Written) => "written",
        Ok(WriteOutcome::Replayed(_)) => "replayed",
        Ok(WriteOutcome::KeyConflict(_)) => "key_conflict",
        Ok(WriteOutcome::Lost(_)) => "conflict",
        Ok(WriteOutcome::Missing) => "missing",
        Err(error) => return trace::set_error(span, "store", || error.to_string()),
    };
    trace::set_text(span, "goconductor.commit.outcome", || text.to_owned());
}

/// Creates the span of the publication of a command. `cause` is its parent.
pub(crate) fn publish_span(
    system: &'static str,
    topic: &Topic,
    command: &Command,
    cause: Option<&SpanContext>,
) -> Span {
    let Some(cause) = cause else { return Span::none() };
    let span = tracing::debug_span!(
        target: TARGET,
        "publish",
        otel.name = format!("send {topic}"),
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.name = "send",
        "messaging.operation.type" = "send",
        messaging.destination.name = %topic,
        messaging.message.conversation_id = %command.id,
        goconductor.workflow.id = %command.id,
        goconductor.attempt = command.attempt,
        goconductor.redelivery = command.redelivery,
    );
    trace::set_parent(&span, cause);
    span
}
