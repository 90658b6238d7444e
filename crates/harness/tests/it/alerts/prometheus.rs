//! A Prometheus with the deployed rules and shorter times.

use goconductor_harness::Services;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The times of the deployed rules are divided by this.
const FASTER: u64 = 120;
/// Shortest range of a rate. It contains several scrapes, and a write even if each takes seconds.
const SHORTEST_RANGE: u64 = 10;
/// The thresholds that are times: the age of a workflow, and of a due row.
const THRESHOLDS: [(&str, &str); 2] = [("> 86400", "> 10"), ("> 300", "> 3")];

fn deployed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring/rules.yaml");
    std::fs::read_to_string(path).unwrap()
}

/// The names of all deployed rules of a kind: `alert` or `record`.
pub(super) fn rules_with(kind: &str) -> BTreeSet<String> {
    let prefix = format!("- {kind}: ");
    deployed().lines().filter_map(|line| line.trim().strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// Returns rules with shorter times: ranges of at least ten seconds, durations of `for` of at least one second, and
/// thresholds that are times. Everything else is unchanged.
pub(super) fn shortened(rules: &str) -> String {
    let mut all = String::new();
    for line in rules.lines() {
        let mut line = line.to_owned();
        if let Some(duration) = line.trim().strip_prefix("for: ").map(str::to_owned) {
            line = line.replace(&duration, &format!("{}s", (seconds(&duration) / FASTER).max(1)));
        }
        for (threshold, shorter) in THRESHOLDS {
            if line.ends_with(threshold) {
                line = line.replace(threshold, shorter);
            }
        }
        let mut parts = line.split('[');
        let mut shorter = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (range, rest) = part.split_once(']').unwrap();
            shorter.push_str(&format!("[{}s]{rest}", (seconds(range) / FASTER).max(SHORTEST_RANGE)));
        }
        all.push_str(&shorter);
        all.push('\n');
    }
    all
}

fn seconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => panic!("{duration}: unknown unit {other}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// A running Prometheus.
pub(super) struct Prometheus {
    services: Services,
    url: String,
    targets_file: PathBuf,
    _rules: tempfile::TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes these base addresses every second.
    pub(super) async fn start(services: &Services, targets: Vec<String>) -> Self {
        let rules = tempfile::tempdir().unwrap();
        let path = rules.path().join("rules.yaml");
        std::fs::write(&path, shortened(&deployed())).unwrap();
        let targets: Vec<&str> = targets.iter().map(|target| target.trim_start_matches("http://")).collect();
        let targets = targets.join(",");
        let variables = [
            ("GOCONDUCTOR_PROMETHEUS_TARGETS", targets.as_str()),
            ("GOCONDUCTOR_PROMETHEUS_RULES", path.to_str().unwrap()),
            ("GOCONDUCTOR_PROMETHEUS_INTERVAL", "1s"),
        ];
        let exported = services.call_with("prometheus.sh", &["up"], &variables).await.unwrap();
        let targets_file = PathBuf::from(&exported["PROMETHEUS_TARGETS_FILE"]);
        let url = exported["PROMETHEUS_URL"].clone();
        Self { services: services.clone(), url, targets_file, _rules: rules }
    }

    /// Adds an address to those that are scraped.
    pub(super) fn add_target(&self, address: &str) {
        let text = std::fs::read_to_string(&self.targets_file).unwrap();
        let mut groups: Value = serde_json::from_str(&text).unwrap();
        groups.as_array_mut().unwrap().push(json!({"targets": [address]}));
        // A rename, so that the server does not read a half of the file.
        let part = self.targets_file.with_extension("part");
        std::fs::write(&part, groups.to_string()).unwrap();
        std::fs::rename(part, &self.targets_file).unwrap();
    }

    async fn get(&self, path: &str) -> Value {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        response.json().await.unwrap()
    }

    /// Waits until this number of targets was scraped twice, so that rates have a value.
    pub(super) async fn until_scraped(&self, targets: usize) {
        for _ in 0..600 {
            let found = self.get("/api/v1/query?query=count_over_time(up[1m])%20%3E%201").await;
            if found["data"]["result"].as_array().is_some_and(|all| all.len() == targets) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not all targets were scraped: {}", self.get("/api/v1/targets").await);
    }

    /// The names of the alerts that fire now.
    pub(super) async fn firing(&self) -> BTreeSet<String> {
        let found = self.get("/api/v1/alerts").await;
        let alerts = found["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned())).collect()
    }

    pub(super) async fn down(self) {
        self.services.call("prometheus.sh", &["wipe"]).await.unwrap();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // A failed test does not call `down`, and the server must not outlive it.
        self.services.wipe("prometheus.sh");
    }
}
