//! Trace context and the attributes of spans.
//!
//! A span of a trace is a `tracing` span with the level DEBUG and the target [`TARGET`]. The exporter accepts the spans
//! of this target and no others. If no exporter is installed, such a span is disabled: it is not created, and the
//! functions of this module return at once.
//!
//! Without the feature `otlp`, no span has a context.

use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Span;

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod otlp;

#[cfg(not(feature = "otlp"))]
use off as backend;
#[cfg(feature = "otlp")]
use otlp as backend;

/// The target of the spans that are exported.
pub const TARGET: &str = "goconductor::trace";

/// A trace context in the text form of W3C, which is the value of the headers `traceparent` and `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The version, the trace id, the span id and the flags.
    pub traceparent: String,
    /// The state of the vendors that take part in the trace.
    pub tracestate: Option<String>,
}

impl SpanContext {
    /// Reads the headers of a request. Returns `None` if `traceparent` is missing or not valid. A `tracestate` that is
    /// not valid is dropped.
    #[must_use]
    pub fn read(traceparent: Option<&str>, tracestate: Option<&str>) -> Option<Self> {
        let traceparent = traceparent.map(str::trim).filter(|text| is_traceparent(text))?.to_owned();
        let is_valid = |text: &&str| {
            !text.is_empty()
                && text.len() <= MAX_TRACESTATE_BYTES
                && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        };
        Some(Self { traceparent, tracestate: tracestate.map(str::trim).filter(is_valid).map(str::to_owned) })
    }

    /// Returns the trace id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// Returns the span id: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Returns whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        let flags = self.traceparent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }
}

/// Maximum bytes of a `tracestate`. Vendors should pass on at least this many.
const MAX_TRACESTATE_BYTES: usize = 512;

/// Returns whether a text is a `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`, with ids that are not zero. A
/// later version may have more fields.
fn is_traceparent(text: &str) -> bool {
    let mut fields = text.split('-');
    let mut hex = |digits: usize| {
        let field = fields.next()?;
        let is_hex = field.len() == digits && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then_some(field)
    };
    let (Some(version), Some(trace), Some(span), Some(_)) = (hex(2), hex(32), hex(16), hex(2)) else {
        return false;
    };
    let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
    let has_more = fields.next().is_some();
    version != "ff"
        && (version != "00" || !has_more)
        && text.len() <= 256
        && !is_zero(trace)
        && !is_zero(span)
}

/// Whether the export has started. Asking the filters of `tracing` instead takes about 100 ns, at twenty places for each
/// workflow.
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Returns whether spans are exported. While it is `false`, a caller need not collect what its spans would contain.
#[must_use]
pub fn is_on() -> bool {
    cfg!(feature = "otlp") && EXPORTS.load(Ordering::Relaxed)
}

/// Begins to create spans. `share` of the traces that begin in this process are recorded, from 0 to 1. Called when the
/// export starts.
pub fn begin_export(share: f64) {
    backend::set_sampling(share);
    EXPORTS.store(true, Ordering::Relaxed);
}

/// Returns whether the spans below `parent` are recorded: if it is sampled or, for a trace that begins here, by chance.
/// While it is `false`, creating them would only cost time.
#[must_use]
pub fn is_recorded(parent: Option<&SpanContext>) -> bool {
    is_on() && parent.map_or_else(backend::sample, SpanContext::is_sampled)
}

/// Returns the context of a new trace that is not recorded. Passed on, it keeps others from recording a part of the
/// trace.
#[must_use]
pub fn unrecorded() -> Option<SpanContext> {
    backend::unrecorded()
}

/// Returns the context of a span. Returns `None` if the span is disabled or not part of a trace.
#[must_use]
pub fn context_of(span: &Span) -> Option<SpanContext> {
    if span.is_disabled() { None } else { backend::context_of(span) }
}

/// Returns the context of the current span.
#[must_use]
pub fn current() -> Option<SpanContext> {
    backend::current()
}

/// Returns whether the current span is part of a recorded trace. Takes a few nanoseconds.
#[must_use]
pub fn current_is_recorded() -> bool {
    is_on() && backend::current_is_recorded()
}

/// Makes a span a child of a span of another process, or of an earlier time. Must be called before the span is entered.
pub fn set_parent(span: &Span, parent: &SpanContext) {
    if !span.is_disabled() {
        backend::set_parent(span, parent);
    }
}

/// Links a span to another one that caused it and is not its parent.
pub fn add_link(span: &Span, linked: &SpanContext) {
    if !span.is_disabled() {
        backend::add_link(span, linked);
    }
}

/// Sets an attribute of a span.
pub fn set_text(span: &Span, name: &'static str, value: impl FnOnce() -> String) {
    if !span.is_disabled() {
        backend::set_attribute(span, name, value());
    }
}

/// Renames the current span.
pub fn rename_current(name: impl FnOnce() -> String) {
    if is_on() {
        backend::rename_current(name());
    }
}

/// Sets an attribute of the current span.
pub fn set_current_text(name: &'static str, value: impl FnOnce() -> String) {
    if is_on() {
        backend::set_current(name, value());
    }
}

/// Sets an attribute of a span.
pub fn set_number(span: &Span, name: &'static str, value: i64) {
    if !span.is_disabled() {
        backend::set_attribute(span, name, value);
    }
}

/// Marks a span as failed. `kind` is the value of the attribute `error.type`.
pub fn set_error(span: &Span, kind: &str, message: impl FnOnce() -> String) {
    if !span.is_disabled() {
        backend::set_attribute(span, "error.type", kind.to_owned());
        backend::set_error(span, message());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_is_checked() {
        let context = SpanContext::read(Some(VALID), Some(" a=1,b=2 ")).unwrap();
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.span_id() == "b7ad6b7169203331" && context.is_sampled());
        assert_eq!((&*context.traceparent, context.tracestate.as_deref()), (VALID, Some("a=1,b=2")));
        for valid in [
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            let context = SpanContext::read(Some(valid), None).unwrap();
            assert_eq!(context.is_sampled(), valid.contains("-01"), "{valid}");
        }
        for invalid in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ] {
            assert_eq!(SpanContext::read(Some(invalid), None), None, "{invalid}");
        }
        assert_eq!(SpanContext::read(None, Some("a=1")), None);
    }

    #[test]
    fn tracestate_that_is_not_valid_is_dropped() {
        for invalid in ["", "a=\u{1}", "ä=1", &"a".repeat(MAX_TRACESTATE_BYTES + 1)] {
            let context = SpanContext::read(Some(VALID), Some(invalid)).unwrap();
            assert_eq!(context.tracestate, None, "{invalid:?}");
        }
    }

    #[test]
    fn span_without_an_exporter_has_no_context() {
        let span = tracing::debug_span!(target: TARGET, "test");
        set_parent(&span, &SpanContext::read(Some(VALID), None).unwrap());
        set_text(&span, "a", || unreachable!("the span is disabled"));
        assert_eq!(context_of(&span), None);
        assert_eq!(span.in_scope(current), None);
    }
}
