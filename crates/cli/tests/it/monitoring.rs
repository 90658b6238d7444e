//! The rules and dashboards of `deploy/monitoring` name only metrics and labels that exist. Each alert has a page, and
//! each page an alert. `scripts/monitoring check` runs the unit tests of the rules.

mod promql;

use crate::docs::METRICS;
use goconductor_definition::yaml::{self, Limits, YamlNode, YamlValue};
use goconductor_telemetry::{Kind, MetricDefinition};
use promql::Query;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The labels that Prometheus and the discovery of Kubernetes add to each series.
const TARGET_LABELS: [&str; 9] =
    ["instance", "job", "namespace", "cluster", "service", "pod", "container", "endpoint", "node"];
/// The suffixes of the series of a histogram.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];
/// The types of panels that the dashboards use.
const PANEL_TYPES: [&str; 4] = ["row", "stat", "table", "timeseries"];
/// The width of a dashboard in units of the grid.
const GRID_WIDTH: u64 = 24;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads a YAML file. Every scalar becomes a text.
fn yaml(path: &Path) -> Value {
    fn json(node: YamlNode) -> Value {
        match node.value {
            YamlValue::Scalar { text, .. } => Value::String(text),
            YamlValue::List(list) => list.into_iter().map(json).collect(),
            YamlValue::Map(map) => map.into_iter().map(|(key, value)| (scalar(key), json(value))).collect(),
            YamlValue::Alias(_) => panic!("an alias at {:?}", node.position),
        }
    }
    fn scalar(node: YamlNode) -> String {
        let YamlValue::Scalar { text, .. } = node.value else {
            panic!("a key at {:?} is no scalar", node.position)
        };
        text
    }
    let text = std::fs::read_to_string(path).unwrap();
    json(yaml::parse(&text, Limits { depth: 64, nodes: 100_000 }).unwrap().unwrap())
}

fn rules() -> Vec<Value> {
    let path = root().join("deploy/monitoring/rules.yaml");
    let file = yaml(&path);
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = root().join("deploy/monitoring/dashboards");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        all.push((name, serde_json::from_str(&text).unwrap()));
    }
    all
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The labels of each known series.
struct Catalogue {
    recorded: BTreeMap<String, BTreeSet<String>>,
}

impl Catalogue {
    fn new(rules: &[Value]) -> Self {
        let mut this = Self { recorded: BTreeMap::new() };
        for rule in rules.iter().filter(|rule| rule.get("record").is_some()) {
            let labels = this.check(text(rule, "record"), text(rule, "expr"));
            this.recorded.insert(text(rule, "record").to_owned(), labels);
        }
        this
    }

    /// Checks the metrics and labels of an expression. Returns the labels that its result can have. `place` names the
    /// expression in a message.
    fn check(&self, place: &str, expression: &str) -> BTreeSet<String> {
        let query = Query::parse(expression);
        assert!(!query.selectors.is_empty(), "{place}: {expression} selects no metric");
        let mut all = BTreeSet::new();
        for (metric, labels) in &query.selectors {
            let known = self.labels(metric);
            let known = known.unwrap_or_else(|| panic!("{place}: no metric has the name {metric}"));
            for label in labels {
                assert!(known.contains(label), "{place}: the metric {metric} has no label {label}");
            }
            all.extend(known);
        }
        for label in &query.grouping {
            assert!(all.contains(label), "{place}: no metric of {expression} has a label {label}");
        }
        all
    }

    fn labels(&self, metric: &str) -> Option<BTreeSet<String>> {
        let target = TARGET_LABELS.into_iter();
        if let Some(labels) = self.recorded.get(metric) {
            return Some(labels.clone());
        }
        if metric == "up" {
            return Some(target.map(str::to_owned).collect());
        }
        let definitions = METRICS.iter().flat_map(|(_, definitions)| definitions.iter());
        let MetricDefinition { labels, .. } =
            definitions.into_iter().find(|definition| match definition.kind {
                Kind::Histogram => HISTOGRAM_SUFFIXES
                    .iter()
                    .any(|suffix| metric.strip_suffix(suffix) == Some(definition.name)),
                Kind::Counter | Kind::Gauge => definition.name == metric,
            })?;
        let bucket = metric.ends_with("_bucket").then_some("le");
        Some(target.chain(labels.iter().copied()).chain(bucket).map(str::to_owned).collect())
    }
}

#[test]
fn rules_name_only_metrics_and_labels_that_exist() {
    let rules = rules();
    let catalogue = Catalogue::new(&rules);
    for rule in rules.iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = text(rule, "alert");
        let mut labels = catalogue.check(alert, text(rule, "expr"));
        labels.extend(rule["labels"].as_object().unwrap().keys().cloned());
        for annotation in ["summary", "description"] {
            let template = text(&rule["annotations"], annotation);
            assert!(!template.is_empty(), "{alert} has no {annotation}");
            for label in promql::template_labels(template) {
                assert!(labels.contains(&label), "{alert}: its metrics have no label {label}");
            }
        }
        let severity = text(&rule["labels"], "severity");
        assert!(["critical", "warning"].contains(&severity), "{alert} has the severity {severity:?}");
    }
}

#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let (rules, mut alerts) = (rules(), BTreeSet::new());
    for rule in rules.iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = text(rule, "alert");
        assert_eq!(text(&rule["annotations"], "runbook_url"), format!("docs/alerts/{alert}.md"));
        alerts.insert(alert.to_owned());
    }
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let index = std::fs::read_to_string(root().join("docs/alerts/index.md")).unwrap();
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("docs/alerts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "index" {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let title = page.lines().next().unwrap().strip_prefix(&format!("# {name}: ")).map(str::to_owned);
        let title = title.unwrap_or_else(|| panic!("the first line of {name}.md is not `# {name}: <title>`"));
        for section in ["Meaning", "Check", "Act", "Silence"] {
            assert!(page.contains(&format!("\n## {section}\n")), "{name}.md has no section {section}");
        }
        assert!(
            summary.contains(&format!("[{name}: {title}](alerts/{name}.md)")),
            "{name} is not in SUMMARY.md"
        );
        assert!(index.contains(&format!("| [{name}]({name}.md) | {title} |")), "{name} is not in the index");
        pages.insert(name);
    }
    assert_eq!(alerts, pages);
}

#[test]
fn each_alert_has_a_unit_test_that_it_fires_and_one_that_it_does_not() {
    let (mut fires, mut stays) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(root().join("deploy/monitoring/tests")).unwrap() {
        let file = yaml(&entry.unwrap().path());
        for test in file["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().unwrap() {
                let is_firing = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                let set = if is_firing { &mut fires } else { &mut stays };
                set.insert(text(case, "alertname").to_owned());
            }
        }
    }
    let alerts: BTreeSet<String> =
        rules().iter().filter_map(|rule| Some(rule.get("alert")?.as_str()?.to_owned())).collect();
    assert_eq!((&fires, &stays), (&alerts, &alerts));
}

#[test]
fn dashboards_name_only_metrics_and_labels_that_exist() {
    let catalogue = Catalogue::new(&rules());
    for (name, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = format!("{name}, {}", text(panel, "title"));
            for target in panel["targets"].as_array().into_iter().flatten() {
                let labels = catalogue.check(&place, text(target, "expr"));
                for label in promql::legend_labels(text(target, "legendFormat")) {
                    assert!(labels.contains(&label), "{place}: its metrics have no label {label}");
                }
            }
        }
    }
}

#[test]
fn dashboards_can_be_imported_anywhere() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(dashboard["id"].is_null(), "{name}: the id of a database");
        assert!(dashboard.get("__inputs").is_none() && dashboard.get("__requires").is_none(), "{name}");
        let uid = text(&dashboard, "uid");
        assert!(!uid.is_empty() && uid.len() <= 40 && uids.insert(uid.to_owned()), "{name}: uid {uid:?}");
        assert!(text(&dashboard, "title").starts_with("GoConductor / "), "{name}");
        assert!(!text(&dashboard, "description").is_empty(), "{name}");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "{name}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let source = variables.iter().find(|variable| text(variable, "name") == "datasource").unwrap();
        assert_eq!((text(source, "type"), text(source, "query")), ("datasource", "prometheus"), "{name}");
        check_panels(&name, dashboard["panels"].as_array().unwrap());
    }
}

fn check_panels(name: &str, panels: &[Value]) {
    let (mut ids, mut titles, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = text(panel, "title");
        let place = format!("{name}, {title:?}");
        let kind = text(panel, "type");
        assert!(PANEL_TYPES.contains(&kind), "{place}: type {kind:?}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: repeated id");
        assert!(!title.is_empty() && titles.insert(title.to_owned()), "{place}: missing or repeated title");
        let cell = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, width, height) = (cell("x"), cell("y"), cell("w"), cell("h"));
        assert!(width > 0 && height > 0 && x + width <= GRID_WIDTH, "{place}: outside the grid");
        for covered in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(used.insert(covered), "{place}: covers another panel");
        }
        if kind == "row" {
            continue;
        }
        assert!(text(panel, "description").ends_with('.'), "{place}: no description");
        assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{place}: no unit");
        assert_eq!(text(&panel["datasource"], "uid"), "${datasource}", "{place}");
        let targets = panel["targets"].as_array().unwrap();
        let references: BTreeSet<&str> = targets.iter().map(|target| text(target, "refId")).collect();
        assert!(!targets.is_empty() && references.len() == targets.len(), "{place}: refIds {references:?}");
        for target in targets {
            assert_eq!(text(&target["datasource"], "uid"), "${datasource}", "{place}");
            assert!(kind == "table" || !text(target, "legendFormat").is_empty(), "{place}: no legend");
        }
    }
}
