//! The rules of new workflows. While an earlier release is in use, they follow rules that it knows; see
//! `goconductor db migrate --finish`.

use crate::process::Process;
use goconductor_saga::RulesVersion;
use goconductor_store::{ClusterStore, Error, START_RULES};
use goconductor_transition::Engine;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Interval between two reads. A process is notified within it that the upgrade was finished.
const INTERVAL: Duration = Duration::from_secs(5);
/// Delay after a read that failed.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Reads the rules that new workflows follow now.
///
/// # Errors
/// Returns `Error::Unavailable` if the store cannot be reached.
pub async fn current(store: &(impl ClusterStore + ?Sized)) -> Result<RulesVersion, Error> {
    let entry = store.config_entry(START_RULES).await?;
    Ok(goconductor_store::start_rules(entry.as_ref().map(|entry| &entry.value)))
}

/// Keeps the rules of an engine up to date, until they are those of this release. The process is not ready before the
/// first read.
pub(crate) fn follow(process: &Process, engine: &Arc<Engine>) {
    engine.set_start_rules(RulesVersion::FIRST);
    let is_known = Arc::new(AtomicBool::new(false));
    process.add_check("start_rules", &is_known, |is_known| async move {
        let error = || "the rules of new workflows were not read from the state store yet".to_owned();
        is_known.load(Ordering::Relaxed).then_some(()).ok_or_else(error)
    });
    let (engine, stop) = (Arc::clone(engine), process.drain.token());
    let following = async move {
        while !stop.is_cancelled() {
            let delay = match current(&**engine.store()).await {
                Ok(rules) => {
                    engine.set_start_rules(rules);
                    is_known.store(true, Ordering::Relaxed);
                    if rules == RulesVersion::CURRENT {
                        return;
                    }
                    INTERVAL
                }
                Err(error) => {
                    tracing::debug!(%error, "the rules of new workflows were not read");
                    RETRY_DELAY
                }
            };
            // Both arms are cancel-safe: they only wait.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    };
    drop(goconductor_supervisor::spawn("start-rules", following));
}
