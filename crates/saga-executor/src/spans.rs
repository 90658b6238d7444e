//! The spans of commands and attempts.

use crate::task::Task;
use goconductor_queue::Topic;
use goconductor_saga::{Failure, Outcome, State};
use goconductor_telemetry::trace::{self, SpanContext, TARGET};
use goconductor_transition::Command;
use goconductor_transition::trace::{span_context, started_by};
use tracing::Span;

/// Creates the span of a command. Its parent is the span that started the workflow. It is linked to the span that
/// published the command and, after a redelivery, to the attempt that may have been lost. A command of a workflow whose
/// trace is not recorded has no span.
pub(crate) fn command(system: &'static str, topic: &Topic, command: &Command, state: &State) -> Span {
    let parent = started_by(state);
    if !trace::is_recorded(parent.as_ref()) {
        return Span::none();
    }
    let span = tracing::debug_span!(
        target: TARGET,
        "command",
        otel.name = format!("process {topic}"),
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.destination.name = %topic,
        messaging.message.conversation_id = %command.id,
        goconductor.workflow.id = %command.id,
        goconductor.workflow.definition = state.definition,
        goconductor.operation = command.side.as_str(),
        goconductor.attempt = command.attempt,
        goconductor.redelivery = command.redelivery,
    );
    if let Some(parent) = &parent {
        trace::set_parent(&span, parent);
    }
    // The first command, if it is dispatched locally, has the start as its cause and as its parent.
    let is_parent = |publisher: &SpanContext| {
        parent.as_ref().is_some_and(|parent| parent.span_id() == publisher.span_id())
    };
    let publisher = SpanContext::read(command.trace.as_deref(), None);
    if let Some(publisher) = publisher.filter(|publisher| !is_parent(publisher)) {
        trace::add_link(&span, &publisher);
    }
    let running = state.step(command.step).and_then(|step| step.progress(command.side).running.as_ref());
    if let Some(lost) =
        running.and_then(|running| running.trace.as_deref()).filter(|_| command.redelivery > 0)
    {
        trace::add_link(&span, &span_context(lost));
    }
    span
}

/// Creates the span of an attempt, and sets the trace context that the participant receives: that of the attempt or, if
/// it is not recorded, that of the start.
pub(crate) fn begin_attempt(task: &mut Task, service: &str, state: &State) {
    let current = if trace::is_on() { trace::current() } else { None };
    if current.as_ref().is_some_and(SpanContext::is_sampled) {
        let operation = task.side.as_str();
        task.span = tracing::debug_span!(
            target: TARGET,
            "attempt",
            otel.name = format!("{operation} {service}/{}", task.action),
            otel.kind = "client",
            peer.service = service,
            goconductor.workflow.id = %task.workflow,
            goconductor.step = task.step,
            goconductor.operation = operation,
            goconductor.attempt = task.attempt,
            goconductor.idempotency_key = task.idempotency_key,
        );
    }
    task.trace = trace::context_of(&task.span).or(current).or_else(|| started_by(state));
}

/// Records the end of an attempt. `None` means that it was given up, or that its command was returned to the ledger.
pub(crate) fn end_attempt(task: &Task, outcome: Option<&Outcome>) {
    let (name, failure) = match outcome {
        Some(outcome) => (outcome_name(outcome), failure(outcome)),
        None => ("none", None),
    };
    tracing::debug!(workflow = %task.workflow, step = task.step, attempt = task.attempt, outcome = name, "attempt ended");
    trace::set_text(&task.span, "goconductor.outcome", || name.to_owned());
    if let Some(failure) = failure {
        trace::set_error(&task.span, &failure.code, || failure.message.clone());
    }
}

/// Returns the name of an outcome in metrics and spans.
pub(crate) fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Retryable { .. } => "retryable",
        Outcome::Refused { .. } => "refused",
        Outcome::Unknown { .. } | Outcome::OutputRejected { .. } => "unknown",
        Outcome::NotSent { .. } => "not_sent",
    }
}

fn failure(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Done { .. } => None,
        Outcome::Retryable { failure, .. }
        | Outcome::Refused { failure }
        | Outcome::Unknown { failure, .. }
        | Outcome::OutputRejected { failure }
        | Outcome::NotSent { failure } => Some(failure),
    }
}
