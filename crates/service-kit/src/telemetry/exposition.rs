//! The text formats of `/metrics`: that of Prometheus 0.0.4, and OpenMetrics 1.0, which has exemplars.

use super::recorder::{FamilyPoints, HistogramValue, Labels, MetricFamily, TraceExemplar};
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// The units that OpenMetrics expects at the end of a name.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// A format of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    Prometheus,
    OpenMetrics,
}

impl TextFormat {
    /// Returns the format that a client prefers. `accept` is the value of its header `Accept`.
    pub(super) fn preferred(accept: Option<&str>) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Prometheus,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0_f64);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// Returns the value of the header `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn render(self, families: &BTreeMap<String, MetricFamily>) -> String {
        let mut text = String::new();
        for (name, family) in families {
            self.render_family(name, family, &mut text);
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn render_family(self, name: &str, family: &MetricFamily, text: &mut String) {
        let kind = match &family.points {
            FamilyPoints::Counters(_) => "counter",
            FamilyPoints::Gauges(_) => "gauge",
            FamilyPoints::Histograms(_) => "histogram",
        };
        // In OpenMetrics, the suffix belongs to the sample and not to the metric.
        let is_counter = matches!(family.points, FamilyPoints::Counters(_));
        let (metric, sample) = match (self, name.strip_suffix("_total")) {
            (Self::OpenMetrics, Some(metric)) if is_counter => (metric, name.to_owned()),
            (Self::OpenMetrics, None) if is_counter => (name, format!("{name}_total")),
            _ => (name, name.to_owned()),
        };
        let description = escaped(&family.description, self == Self::OpenMetrics);
        push(text, format_args!("# HELP {metric} {description}\n# TYPE {metric} {kind}\n"));
        let unit = family.unit.map(|unit| unit.as_str()).filter(|unit| UNITS.contains(unit));
        if let Some(unit) = unit.filter(|unit| self == Self::OpenMetrics && metric.ends_with(*unit)) {
            push(text, format_args!("# UNIT {metric} {unit}\n"));
        }
        match &family.points {
            FamilyPoints::Counters(points) => {
                for (labels, value) in points {
                    push(text, format_args!("{sample}{} {value}\n", braces(labels, None)));
                }
            }
            FamilyPoints::Gauges(points) => {
                for (labels, value) in points {
                    push(text, format_args!("{sample}{} {}\n", braces(labels, None), number(*value)));
                }
            }
            FamilyPoints::Histograms(points) => {
                for (labels, value) in points {
                    self.render_histogram(name, labels, value, text);
                }
            }
        }
    }

    fn render_histogram(self, name: &str, labels: &Labels, value: &HistogramValue, text: &mut String) {
        let mut sum = 0;
        let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
        for (bucket, (bound, count)) in bounds.zip(&value.counts).enumerate() {
            sum += count;
            push(text, format_args!("{name}_bucket{} {sum}", braces(labels, Some(bound))));
            let exemplar = value.exemplars.get(bucket).and_then(Option::as_ref);
            if let Some(exemplar) = exemplar.filter(|_| self == Self::OpenMetrics) {
                push_exemplar(exemplar, text);
            }
            text.push('\n');
        }
        let braces = braces(labels, None);
        push(text, format_args!("{name}_sum{braces} {}\n{name}_count{braces} {sum}\n", number(value.sum)));
    }
}

fn push_exemplar(exemplar: &TraceExemplar, text: &mut String) {
    let TraceExemplar { value, at, trace_id, span_id } = exemplar;
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let ids = format!("trace_id=\"{trace_id}\",span_id=\"{span_id}\"");
    push(text, format_args!(" # {{{ids}}} {} {seconds:.3}", number(*value)));
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
}

/// Returns labels in braces, or nothing if there are none.
fn braces(labels: &Labels, bound: Option<f64>) -> String {
    let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)));
    let bound = bound.map(|bound| format!("le=\"{}\"", canonical(bound)));
    let all: Vec<String> = labels.chain(bound).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// Returns a bound in the form that OpenMetrics requires. It is the same in both formats, so that a series does not
/// depend on the format.
fn canonical(bound: f64) -> String {
    if bound.is_finite() { format!("{bound:?}") } else { number(bound) }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Unit;
    use std::time::Duration;

    fn families() -> BTreeMap<String, MetricFamily> {
        let label = |value: &str| vec![("kind".to_owned(), value.to_owned())];
        let exemplar = TraceExemplar {
            value: 0.0015,
            at: UNIX_EPOCH + Duration::from_millis(1_500),
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            span_id: "b7ad6b7169203331".to_owned(),
        };
        let histogram = HistogramValue {
            bounds: &[0.001, 1.0],
            counts: vec![2, 1, 1],
            sum: 7.5,
            exemplars: vec![None, Some(exemplar), None],
        };
        let family = |unit, description: &'static str, points| MetricFamily {
            unit: Some(unit),
            description: description.into(),
            points,
        };
        BTreeMap::from([
            (
                "a_total".to_owned(),
                family(
                    Unit::Count,
                    "Says \"a\".",
                    FamilyPoints::Counters(BTreeMap::from([(label("x\"\\\n"), 3), (label("y"), 4)])),
                ),
            ),
            (
                "b_bytes".to_owned(),
                family(Unit::Bytes, "B.", FamilyPoints::Gauges(BTreeMap::from([(Vec::new(), 2.0)]))),
            ),
            (
                "c_seconds".to_owned(),
                family(
                    Unit::Seconds,
                    "C.",
                    FamilyPoints::Histograms(BTreeMap::from([(label("z"), histogram)])),
                ),
            ),
        ])
    }

    #[test]
    fn prometheus_format_has_no_exemplars() {
        let expected = "\
# HELP a_total Says \"a\".
# TYPE a_total counter
a_total{kind=\"x\\\"\\\\\\n\"} 3
a_total{kind=\"y\"} 4
# HELP b_bytes B.
# TYPE b_bytes gauge
b_bytes 2
# HELP c_seconds C.
# TYPE c_seconds histogram
c_seconds_bucket{kind=\"z\",le=\"0.001\"} 2
c_seconds_bucket{kind=\"z\",le=\"1.0\"} 3
c_seconds_bucket{kind=\"z\",le=\"+Inf\"} 4
c_seconds_sum{kind=\"z\"} 7.5
c_seconds_count{kind=\"z\"} 4
";
        assert_eq!(TextFormat::Prometheus.render(&families()), expected);
    }

    #[test]
    fn open_metrics_format_has_units_exemplars_and_an_end() {
        let text = TextFormat::OpenMetrics.render(&families());
        for line in [
            "# HELP a Says \\\"a\\\".\n# TYPE a counter\na_total{kind=\"x\\\"\\\\\\n\"} 3\n",
            "# TYPE b_bytes gauge\n# UNIT b_bytes bytes\nb_bytes 2\n",
            "c_seconds_bucket{kind=\"z\",le=\"1.0\"} 3 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",\
             span_id=\"b7ad6b7169203331\"} 0.0015 1.500\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn client_chooses_the_format() {
        use TextFormat::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            (None, Prometheus),
            (Some(""), Prometheus),
            (Some("*/*"), Prometheus),
            (Some("text/html"), Prometheus),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Prometheus),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            (Some("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.5"), Prometheus),
        ] {
            assert_eq!(TextFormat::preferred(accept), expected, "{accept:?}");
        }
    }
}
