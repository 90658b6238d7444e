//! The format of log lines with the ids of the current span.

use goconductor_telemetry::trace;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Adds the ids at the end of the line of another format.
#[derive(Debug)]
pub(super) struct WithIds<F> {
    pub(super) format: F,
    pub(super) is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(current) = trace::current() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&add_ids(&line, self.is_json, current.trace_id(), current.span_id()))
    }
}

fn add_ids(line: &str, is_json: bool, trace: &str, span: &str) -> String {
    let text = line.trim_end_matches('\n');
    match text.strip_suffix('}').filter(|_| is_json) {
        // An event about a problem of the API has the trace id as a field of its own.
        Some(object) if object.contains("\"trace_id\":") => format!("{object},\"span_id\":\"{span}\"}}\n"),
        Some(object) => format!("{object},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}\n"),
        None => format!("{text} trace_id={trace} span_id={span}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::add_ids;

    #[test]
    fn ids_are_the_last_fields_of_a_line() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (line, is_json, expected) in [
            ("INFO started\n", false, format!("INFO started trace_id={trace} span_id={span}\n")),
            ("INFO {}\n", false, format!("INFO {{}} trace_id={trace} span_id={span}\n")),
            (
                "{\"message\":\"started\"}\n",
                true,
                format!("{{\"message\":\"started\",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}\n"),
            ),
            ("{\"trace_id\":\"1\"}\n", true, format!("{{\"trace_id\":\"1\",\"span_id\":\"{span}\"}}\n")),
        ] {
            assert_eq!(add_ids(line, is_json, trace, span), expected);
        }
    }
}
