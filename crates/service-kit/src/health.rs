//! Readiness of a service: named checks and a report of their results.

use crate::metrics;
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Timeout of a check. It is shorter than the usual timeout of a probe, so that the probe receives the report.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval at which the checks are run for the metrics. A database that is idle is written to as often.
const RECORD_INTERVAL: Duration = Duration::from_secs(5);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The readiness checks of a service. Clones share them.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<Vec<(String, Check)>>>,
}

impl Readiness {
    /// Creates a service without checks, which is always ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, or replaces the check of the same name. The report contains its error, which must not contain a
    /// secret.
    pub fn add<C, F>(&self, name: impl Into<String>, check: C)
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let name = name.into();
        let check: Check = Arc::new(move || Box::pin(check()));
        let mut checks = self.checks.lock();
        checks.retain(|(known, _)| *known != name);
        checks.push((name, check));
    }

    /// Removes a check.
    pub fn remove(&self, name: &str) {
        self.checks.lock().retain(|(known, _)| known != name);
    }

    /// Records the results of the checks as metrics, at a fixed interval and whenever a report is requested. It never
    /// returns, so spawn it as a task. Cancel-safe.
    pub async fn record_loop(self) {
        let mut ticks = tokio::time::interval(RECORD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            drop(self.report().await);
        }
    }

    /// Runs all checks concurrently. A check fails if it panics or takes longer than two seconds. A process with a failed
    /// background task is not ready.
    ///
    /// Cancel-safe: dropping the future aborts the checks.
    pub async fn report(&self) -> ReadinessReport {
        let checks = self.checks.lock().clone();
        let mut running = JoinSet::new();
        let mut reports: Vec<CheckReport> = Vec::with_capacity(checks.len());
        for (index, (name, check)) in checks.into_iter().enumerate() {
            // The result of a check that never returns one.
            reports.push(CheckReport { name, ok: false, detail: Some("the check panicked".to_owned()) });
            running.spawn(async move { (index, tokio::time::timeout(CHECK_TIMEOUT, check()).await) });
        }
        while let Some(joined) = running.join_next().await {
            let Ok((index, result)) = joined else { continue };
            let detail = match result {
                Ok(Ok(())) => None,
                Ok(Err(detail)) => Some(detail),
                Err(_) => Some(format!("no response within {}", crate::duration::format(CHECK_TIMEOUT))),
            };
            if let Some(report) = reports.get_mut(index) {
                report.ok = detail.is_none();
                report.detail = detail;
            }
        }
        // A process that works has no such check.
        if let Some(failure) = goconductor_supervisor::failure() {
            let detail = Some(failure.to_string());
            reports.push(CheckReport { name: "background_tasks".to_owned(), ok: false, detail });
        }
        let report = ReadinessReport { ready: reports.iter().all(|check| check.ok), checks: reports };
        record(&report);
        report
    }
}

fn record(report: &ReadinessReport) {
    let value = |ok: bool| f64::from(u8::from(ok));
    metrics::READY.set(value(report.ready));
    for check in &report.checks {
        metrics::READY_CHECK.with([check.name.clone().into()]).set(value(check.ok));
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.lock();
        f.debug_list().entries(checks.iter().map(|(name, _)| name)).finish()
    }
}

/// Results of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// Whether all checks passed.
    pub ready: bool,
    /// The results in the order in which the checks were added.
    pub checks: Vec<CheckReport>,
}

impl ReadinessReport {
    /// Returns the report for unauthenticated callers: the names of the checks and their results, without their errors. An error may name
    /// hosts, users and files.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        for check in &mut self.checks {
            check.detail = None;
        }
        self
    }

    /// Returns the failed checks as one text, if there are any.
    ///
    /// # Errors
    /// Returns the name and the error of each failed check.
    pub fn to_result(&self) -> Result<(), String> {
        let failed: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("failed")))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The name of the check.
    pub name: String,
    /// Whether the check passed.
    pub ok: bool,
    /// The error, if the check failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unauthenticated_callers_see_results_without_errors() {
        let readiness = Readiness::new();
        readiness.add("database", || async { Err("no response from db.internal".to_owned()) });
        let report = readiness.report().await.without_details();
        assert!(!report.ready);
        let check = CheckReport { name: "database".to_owned(), ok: false, detail: None };
        assert_eq!(report.checks, [check]);
    }

    #[tokio::test]
    async fn service_without_checks_is_ready() {
        let report = Readiness::new().report().await;
        assert_eq!(report, ReadinessReport { ready: true, checks: Vec::new() });
        assert_eq!(report.to_result(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn report_contains_every_check() {
        let readiness = Readiness::new();
        readiness.add("good", || async { Err("replaced below".to_owned()) });
        readiness.add("bad", || async { Err("the disk is full".to_owned()) });
        readiness.add("stuck", std::future::pending);
        readiness.add("broken", || async { panic!("on purpose") });
        readiness.add("good", || async { Ok(()) });
        let report = readiness.report().await;
        assert_eq!(
            report.to_result(),
            Err("bad: the disk is full; stuck: no response within 2s; broken: the check panicked".to_owned())
        );
        let report = serde_json::to_value(report).expect("a report is serializable");
        assert_eq!(
            report,
            serde_json::json!({
                "ready": false,
                "checks": [
                    {"name": "bad", "ok": false, "detail": "the disk is full"},
                    {"name": "stuck", "ok": false, "detail": "no response within 2s"},
                    {"name": "broken", "ok": false, "detail": "the check panicked"},
                    {"name": "good", "ok": true},
                ],
            })
        );
        assert_eq!(format!("{readiness:?}"), r#"["bad", "stuck", "broken", "good"]"#);
    }
}
