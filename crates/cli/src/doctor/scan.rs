//! The scan of all workflows. Inconsistent ones are read again before they are reported.

use super::check::{HistoryFold, Snapshot, findings};
use super::report::{DoctorReport, Violation};
use goconductor_saga::{Elements, Plan, State, WorkflowId};
use goconductor_store::{Error, LedgerRow, Loaded, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The number of workflows per batch.
const BATCH_SIZE: u32 = 200;

/// The number of events per read, and of orphaned rows to report.
const EVENT_PAGE: u32 = 1000;

/// A workflow is reported only if this many consecutive scans found it inconsistent and unchanged.
const CONFIRMATIONS: u32 = 3;

/// The number of scans after which a workflow that keeps changing is reported as too busy.
const MAX_SCANS: u32 = 20;

/// The delay between two scans of a workflow.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A cache of plans by namespace, name and version. `None` marks a definition that is missing or invalid.
type PlanCache = BTreeMap<(String, String, u32), Option<Arc<Plan>>>;

/// The result of one scan of a workflow.
enum ScanResult {
    /// The workflow did not change during the scan.
    Stable(Vec<Violation>),
    /// The workflow changed during the scan.
    Changed,
    /// The workflow was deleted.
    Missing,
}

/// Checks every workflow of the store and reports the number of checked workflows to `progress`.
pub(super) async fn run(store: &dyn Store, progress: &(dyn Fn(u64) + Sync)) -> Result<DoctorReport, Error> {
    let mut report = DoctorReport::default();
    let mut plans = PlanCache::new();
    let mut after = None;
    loop {
        let ids = store.ids(after, BATCH_SIZE).await?;
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        for id in suspicious(store, &ids, &mut plans).await? {
            confirm(store, id, &mut plans, &mut report).await?;
        }
        report.checked += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        progress(report.checked);
    }
    for row in store.orphans(EVENT_PAGE).await? {
        report.findings.push(Violation {
            code: "GC3014",
            workflow: row.key.id.to_string(),
            detail: format!("{} is in the ledger, but the workflow does not exist", row.key.key),
        });
    }
    Ok(report)
}

/// Returns the workflows of a batch that are inconsistent, possibly because they changed between the reads.
async fn suspicious(
    store: &dyn Store,
    ids: &[WorkflowId],
    plans: &mut PlanCache,
) -> Result<Vec<WorkflowId>, Error> {
    let mut suspicious = Vec::new();
    let loaded = match store.load(ids).await {
        Ok(loaded) => loaded,
        // One workflow is unreadable. Scan each one separately.
        Err(Error::Corrupt { .. }) => return Ok(ids.to_vec()),
        Err(error) => return Err(error),
    };
    let mut rows: BTreeMap<WorkflowId, Vec<LedgerRow>> = BTreeMap::new();
    for row in store.ledger(ids).await? {
        rows.entry(row.key.id).or_default().push(row);
    }
    for Loaded { state, .. } in loaded.into_iter().flatten() {
        let id = state.id;
        let rows = rows.remove(&id).unwrap_or_default();
        let consistent = match (plan(store, &state, plans).await?, history(store, id).await) {
            (Some(plan), Ok(history)) => findings(&plan, &Snapshot { state, history, rows }).is_empty(),
            (_, Err(error)) if error.is_retryable() => return Err(error),
            (_, _) => false,
        };
        if !consistent {
            suspicious.push(id);
        }
    }
    Ok(suspicious)
}

/// Scans a workflow until it is consistent, deleted, repeatedly inconsistent or too busy.
async fn confirm(
    store: &dyn Store,
    id: WorkflowId,
    plans: &mut PlanCache,
    report: &mut DoctorReport,
) -> Result<(), Error> {
    let mut confirmed = 0;
    for _ in 0..MAX_SCANS {
        match scan(store, id, plans).await? {
            ScanResult::Missing => return Ok(()),
            ScanResult::Changed => confirmed = 0,
            ScanResult::Stable(found) if found.is_empty() => return Ok(()),
            ScanResult::Stable(found) => {
                confirmed += 1;
                if confirmed >= CONFIRMATIONS {
                    report.findings.extend(found);
                    return Ok(());
                }
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
    report.too_busy.push(id.to_string());
    Ok(())
}

async fn scan(store: &dyn Store, id: WorkflowId, plans: &mut PlanCache) -> Result<ScanResult, Error> {
    let unreadable = |detail: String| {
        ScanResult::Stable(vec![Violation { code: "GC3016", workflow: id.to_string(), detail }])
    };
    let state = match load(store, id).await {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(ScanResult::Missing),
        Err(error @ Error::Corrupt { .. }) => return Ok(unreadable(error.to_string())),
        Err(error) => return Err(error),
    };
    let seq = state.seq;
    let Some(plan) = plan(store, &state, plans).await? else {
        let detail =
            format!("definition {} version {} is missing or invalid", state.definition, state.version);
        return Ok(unreadable(detail));
    };
    let history = match history(store, id).await {
        Ok(history) => history,
        Err(error @ Error::Corrupt { .. }) => return Ok(unreadable(error.to_string())),
        Err(error) => return Err(error),
    };
    let rows = store.ledger(&[id]).await?;
    // The reads form one snapshot only if the workflow did not change in between.
    if load(store, id).await?.is_none_or(|now| now.seq != seq) {
        return Ok(ScanResult::Changed);
    }
    Ok(ScanResult::Stable(findings(&plan, &Snapshot { state, history, rows })))
}

async fn load(store: &dyn Store, id: WorkflowId) -> Result<Option<State>, Error> {
    Ok(store.load(&[id]).await?.into_iter().flatten().next().map(|loaded| loaded.state))
}

async fn history(store: &dyn Store, id: WorkflowId) -> Result<HistoryFold, Error> {
    let (mut history, mut after) = (HistoryFold::default(), 0);
    loop {
        let page = store.history(id, after, EVENT_PAGE).await?;
        page.iter().for_each(|event| history.add(event));
        match page.last() {
            Some(last) if page.len() >= usize::try_from(EVENT_PAGE).unwrap_or(usize::MAX) => after = last.seq,
            Some(_) | None => return Ok(history),
        }
    }
}

async fn plan(store: &dyn Store, state: &State, plans: &mut PlanCache) -> Result<Option<Arc<Plan>>, Error> {
    let key = (state.namespace.clone(), state.definition.clone(), state.version);
    if let Some(plan) = plans.get(&key) {
        return Ok(plan.clone());
    }
    // The plan of a workflow that runs elements follows from the definition that has their step.
    let elements = Elements::parse(&key.1);
    let name = elements.as_ref().map_or(&key.1, |elements| &elements.definition);
    let record = match store.definition(&key.0, name, Some(key.2)).await {
        Ok(record) => record,
        Err(Error::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let plan = record.and_then(|record| Plan::new(record.definition, record.version).ok());
    let plan = match elements {
        Some(elements) => plan.and_then(|plan| plan.of_elements(&elements)),
        None => plan,
    };
    let plan = plan.map(Arc::new);
    plans.insert(key, plan.clone());
    Ok(plan)
}
