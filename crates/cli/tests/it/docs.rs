//! Generated reference pages.
//!
//! `UPDATE_DOCS=1 cargo test -p goconductor-cli --test it docs` writes them.

use goconductor_telemetry::MetricDefinition;
use std::collections::BTreeSet;
use std::path::Path;

/// Compares a page in `docs/` with its generated text, or writes it if `UPDATE_DOCS` is set.
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "docs/{page} is not current; run `UPDATE_DOCS=1 cargo test -p goconductor-cli --test it docs`"
    );
}

#[test]
fn cli_reference_is_current() {
    check("reference/cli.md", &goconductor_cli::reference());
}

#[test]
fn configuration_reference_is_current() {
    check("reference/configuration.md", &goconductor_cli::configuration_reference().unwrap());
}

/// The metrics of each crate that measures.
pub(crate) const METRICS: &[(&str, &[MetricDefinition])] = &[
    ("access", goconductor_access::metrics::ALL),
    ("api-gateway", goconductor_api_gateway::metrics::ALL),
    ("leader-elector", goconductor_leader_elector::metrics::ALL),
    ("process", goconductor_process::metrics::ALL),
    ("queue", goconductor_queue::metrics::ALL),
    ("saga-executor", goconductor_saga_executor::metrics::ALL),
    ("service-kit", goconductor_service_kit::metrics::ALL),
    ("store", goconductor_store::metrics::ALL),
    ("tls", goconductor_tls::metrics::ALL),
    ("transition", goconductor_transition::metrics::ALL),
];

const METRICS_HEAD: &str = "\
# Metrics

<!-- Generated from the `metrics` modules of the crates; see the test `metrics_reference_is_current` in `crates/cli`. -->

Each process exports the metrics of the crates that it contains at `GET /metrics`, in the text format of Prometheus.
";

fn metrics_reference() -> String {
    let mut text = METRICS_HEAD.to_owned();
    for (name, definitions) in METRICS {
        text.push_str(&format!("\n## `{name}`\n\n| metric | type | unit | labels | description |\n"));
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for MetricDefinition { name, kind, unit, labels, description } in *definitions {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let (kind, unit, labels) = (kind.name(), unit.as_str(), labels.join(", "));
            text.push_str(&format!("| `{name}` | {kind} | {unit} | {labels} | {description} |\n"));
        }
    }
    text
}

#[test]
fn metrics_reference_is_current() {
    check("reference/metrics.md", &metrics_reference());
}

#[test]
fn metrics_have_unique_names_and_descriptions() {
    let mut names = BTreeSet::new();
    for definition in METRICS.iter().flat_map(|(_, definitions)| definitions.iter()) {
        // OpenMetrics calls a counter by its name without the suffix.
        let name = definition.name.strip_suffix("_total").unwrap_or(definition.name);
        assert!(names.insert(name), "{} is defined twice", definition.name);
        let description = definition.description.trim();
        assert!(description.len() > 1 && description.ends_with('.'), "{}: {description:?}", definition.name);
    }
}

#[test]
fn every_crate_that_measures_is_listed() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in std::fs::read_dir(crates).unwrap() {
        let folder = folder.unwrap();
        let source = std::fs::read_to_string(folder.path().join("src/metrics.rs")).unwrap_or_default();
        let name = folder.file_name().into_string().unwrap();
        let is_listed = METRICS.iter().any(|(listed, _)| *listed == name);
        assert!(
            is_listed || name == "xtask" || !source.contains("goconductor_telemetry::metrics!"),
            "add goconductor_{}::metrics::ALL to METRICS",
            name.replace('-', "_")
        );
    }
}
