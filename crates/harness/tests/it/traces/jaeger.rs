//! A client of the Jaeger of the test run.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time in which all spans of a trace must have arrived. A process exports them every second.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The Jaeger of the test run.
#[derive(Debug)]
pub(crate) struct Jaeger {
    url: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
}

/// A trace.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) spans: Vec<TraceSpan>,
}

/// A span of a trace.
#[derive(Debug)]
pub(crate) struct TraceSpan {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    /// The ids of the linked spans.
    pub(crate) links: Vec<String>,
    pub(crate) name: String,
    /// The name of the service in the resource.
    pub(crate) service: String,
    /// The attributes, as text.
    pub(crate) tags: BTreeMap<String, String>,
}

impl Jaeger {
    /// Returns the Jaeger of the test run. Without one, a test prints a message and passes, unless the run requires all
    /// services.
    pub(crate) fn of_run() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("GOCONDUCTOR_TEST_JAEGER_{name}")).ok();
        let (url, grpc, http) = (variable("URL"), variable("OTLP_GRPC"), variable("OTLP_HTTP"));
        if let (Some(url), Some(otlp_grpc), Some(otlp_http)) = (url, grpc, http) {
            return Some(Self { url, otlp_grpc, otlp_http });
        }
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_JAEGER_URL, _OTLP_GRPC or _OTLP_HTTP is not set");
        eprintln!("traces are not checked: GOCONDUCTOR_TEST_JAEGER_URL is not set");
        None
    }

    /// Waits until a trace has no problems, and returns it.
    pub(crate) async fn until(&self, id: &str, problems: impl Fn(&Trace) -> Vec<String>) -> Trace {
        let begun = Instant::now();
        loop {
            let trace = self.trace(id).await;
            let found = problems(&trace);
            if found.is_empty() {
                return trace;
            }
            assert!(begun.elapsed() < ARRIVES_WITHIN, "trace {id}: {found:#?}\n{}", trace.describe());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the trace as far as it has arrived.
    async fn trace(&self, id: &str) -> Trace {
        let response = reqwest::get(format!("{}/api/traces/{id}", self.url)).await.unwrap();
        let body: Value = response.json().await.unwrap();
        let empty = Vec::new();
        let traces = body["data"].as_array().unwrap_or(&empty);
        let spans = traces.iter().flat_map(|trace| {
            let spans = trace["spans"].as_array().unwrap();
            spans.iter().map(|span| TraceSpan::read(span, &trace["processes"]))
        });
        Trace { spans: spans.collect() }
    }
}

impl TraceSpan {
    fn read(span: &Value, processes: &Value) -> Self {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let references = span["references"].as_array().cloned().unwrap_or_default();
        let referred = |kind: &'static str| {
            let of_kind = references.iter().filter(move |each| each["refType"] == kind);
            of_kind.map(|each| text(&each["spanID"]))
        };
        let tags = span["tags"].as_array().cloned().unwrap_or_default();
        let process = span["processID"].as_str().unwrap();
        Self {
            id: text(&span["spanID"]),
            parent: referred("CHILD_OF").next(),
            links: referred("FOLLOWS_FROM").collect(),
            name: text(&span["operationName"]),
            service: text(&processes[process]["serviceName"]),
            tags: tags.iter().map(|tag| (text(&tag["key"]), text(&tag["value"]))).collect(),
        }
    }

    pub(crate) fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }
}

impl Trace {
    /// Returns the spans with this name.
    pub(crate) fn named<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t TraceSpan> {
        self.spans.iter().filter(move |span| span.name == name)
    }

    pub(crate) fn span(&self, id: &str) -> Option<&TraceSpan> {
        self.spans.iter().find(|span| span.id == id)
    }

    fn describe(&self) -> String {
        let line = |span: &TraceSpan| {
            let TraceSpan { id, parent, links, name, service, .. } = span;
            format!("{service}: {name} {id}, parent {parent:?}, links {links:?}\n")
        };
        self.spans.iter().map(line).collect()
    }
}
