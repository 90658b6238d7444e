//! Whether a service can do its work: named checks, and a report that says which of them holds.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

/// A check that takes longer has found something: whoever probes gives up soon after.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What has to hold for a service to be ready. Clones share their checks.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<Vec<(String, Check)>>>,
}

impl Readiness {
    /// No checks: always ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check; the error says what is wrong, and is shown to whoever asks, so it holds no secret.
    /// One of the same name is replaced.
    pub fn add<C, F>(&self, name: impl Into<String>, check: C)
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let name = name.into();
        let check: Check = Arc::new(move || Box::pin(check()));
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(known, _)| *known != name);
        checks.push((name, check));
    }

    /// Runs all checks at once. One that panics, or takes longer than two seconds, does not hold.
    ///
    /// Safe to cancel: the checks end with it.
    pub async fn report(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut running = JoinSet::new();
        let mut reports: Vec<CheckReport> = Vec::with_capacity(checks.len());
        for (place, (name, check)) in checks.into_iter().enumerate() {
            // Until it says otherwise.
            reports.push(CheckReport { name, ok: false, detail: Some("the check panicked".to_owned()) });
            running.spawn(async move { (place, tokio::time::timeout(CHECK_TIMEOUT, check()).await) });
        }
        while let Some(joined) = running.join_next().await {
            let Ok((place, outcome)) = joined else { continue };
            let detail = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(detail)) => Some(detail),
                Err(_) => Some(format!("no answer within {}", crate::duration::format(CHECK_TIMEOUT))),
            };
            if let Some(report) = reports.get_mut(place) {
                report.ok = detail.is_none();
                report.detail = detail;
            }
        }
        Report { ready: reports.iter().all(|check| check.ok), checks: reports }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(checks.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether a service is ready, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every check holds.
    pub ready: bool,
    /// Each check, in the order in which they were added.
    pub checks: Vec<CheckReport>,
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What is wrong, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_checks_it_is_ready() {
        assert_eq!(Readiness::new().report().await, Report { ready: true, checks: Vec::new() });
    }

    #[tokio::test(start_paused = true)]
    async fn each_check_is_reported() {
        let readiness = Readiness::new();
        readiness.add("good", || async { Err("replaced below".to_owned()) });
        readiness.add("bad", || async { Err("the disk is full".to_owned()) });
        readiness.add("stuck", std::future::pending);
        readiness.add("broken", || async { panic!("on purpose") });
        readiness.add("good", || async { Ok(()) });
        let report = serde_json::to_value(readiness.report().await).expect("serialises");
        assert_eq!(
            report,
            serde_json::json!({
                "ready": false,
                "checks": [
                    {"name": "bad", "ok": false, "detail": "the disk is full"},
                    {"name": "stuck", "ok": false, "detail": "no answer within 2s"},
                    {"name": "broken", "ok": false, "detail": "the check panicked"},
                    {"name": "good", "ok": true},
                ],
            })
        );
        assert_eq!(format!("{readiness:?}"), r#"["bad", "stuck", "broken", "good"]"#);
    }
}
