//! The same with OpenTelemetry.

use super::SpanContext;
use opentelemetry::trace::{
    SpanContext as OtelContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue, Value};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The bits of the share of new traces that are recorded.
static SAMPLING: AtomicU64 = AtomicU64::new(1f64.to_bits());

pub(super) fn set_sampling(share: f64) {
    SAMPLING.store(share.to_bits(), Ordering::Relaxed);
}

pub(super) fn sample() -> bool {
    fastrand::f64() < f64::from_bits(SAMPLING.load(Ordering::Relaxed))
}

pub(super) fn unrecorded() -> Option<SpanContext> {
    let (trace, span) = (fastrand::u128(1..), fastrand::u64(1..));
    Some(SpanContext { traceparent: format!("00-{trace:032x}-{span:016x}-00"), tracestate: None })
}

pub(super) fn context_of(span: &Span) -> Option<SpanContext> {
    text(span.context().span().span_context())
}

pub(super) fn current() -> Option<SpanContext> {
    // An entered span of `tracing` makes its context the current one.
    Context::map_current(|context| text(context.span().span_context()))
}

pub(super) fn current_is_recorded() -> bool {
    Context::map_current(|context| context.span().span_context().is_sampled())
}

pub(super) fn set_parent(span: &Span, parent: &SpanContext) {
    if let Some(parent) = parsed(parent) {
        // It fails only for a span that no exporter receives.
        drop(span.set_parent(Context::new().with_remote_span_context(parent)));
    }
}

pub(super) fn add_link(span: &Span, linked: &SpanContext) {
    if let Some(linked) = parsed(linked) {
        span.add_link(linked);
    }
}

pub(super) fn set_attribute(span: &Span, name: &'static str, value: impl Into<Value>) {
    span.set_attribute(name, value);
}

pub(super) fn set_current(name: &'static str, value: String) {
    Context::map_current(|context| context.span().set_attribute(KeyValue::new(name, value)));
}

pub(super) fn rename_current(name: String) {
    Context::map_current(|context| context.span().update_name(name));
}

pub(super) fn set_error(span: &Span, message: String) {
    span.set_status(Status::error(message));
}

fn text(context: &OtelContext) -> Option<SpanContext> {
    if !context.is_valid() {
        return None;
    }
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let traceparent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    let tracestate = context.trace_state().header();
    Some(SpanContext { traceparent, tracestate: Some(tracestate).filter(|state| !state.is_empty()) })
}

fn parsed(context: &SpanContext) -> Option<OtelContext> {
    let mut fields = context.traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(fields.next()?).ok()?;
    let span = SpanId::from_hex(fields.next()?).ok()?;
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    let state = context.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok());
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(OtelContext::new(trace, span, flags, true, state.unwrap_or_default()))
}
