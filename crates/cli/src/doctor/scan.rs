//! Snapshot all workflows, and those that look wrong again.

use super::check::{Snapshot, findings};
use super::{Finding, DoctorReport};
use goconductor_saga::{Event, Plan, State, WorkflowId};
use goconductor_store::{Error, LedgerRow, Loaded, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many workflows are read together.
const BATCH: u32 = 200;

/// So many events are read together.
const EVENT_PAGE: u32 = 1000;

/// A workflow is found wrong only if it looked wrong, standing still, so many times in a row.
const CONFIRMATIONS: u32 = 3;

/// A workflow that changed during so many looks is left to another day.
const MAX_SCANS: u32 = 20;

/// Between two looks.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// Definitions that were looked up, by namespace, name and version; none: it can't be used.
type Plans = BTreeMap<(String, String, u32), Option<Arc<Plan>>>;

/// What one look at a workflow came to.
enum ScanResult {
    /// It stood still meanwhile.
    Stable(Vec<Finding>),
    /// It changed meanwhile.
    Changed,
    /// It is no more.
    Missing,
}

/// Checks every workflow of the store; `progress` is told how many have been.
pub(super) async fn run(store: &dyn Store, progress: &(dyn Fn(u64) + Sync)) -> Result<DoctorReport, Error> {
    let mut report = DoctorReport::default();
    let mut plans = Plans::new();
    let mut after = None;
    loop {
        let ids = store.ids(after, BATCH).await?;
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        for id in suspicious(store, &ids, &mut plans).await? {
            confirm(store, id, &mut plans, &mut report).await?;
        }
        report.checked += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        progress(report.checked);
    }
    for row in store.orphans(EVENT_PAGE).await? {
        report.findings.push(Finding {
            code: "GC3014",
            workflow: row.key.id.to_string(),
            detail: format!("{} is in the ledger, the workflow is not there", row.key.key),
        });
    }
    Ok(report)
}

/// Those of a batch that look wrong, or changed while they were read.
async fn suspicious(
    store: &dyn Store,
    ids: &[WorkflowId],
    plans: &mut Plans,
) -> Result<Vec<WorkflowId>, Error> {
    let mut left = Vec::new();
    let loaded = match store.load(ids).await {
        Ok(loaded) => loaded,
        // One of them can't be read: each is looked at by itself.
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
        let sound = match (plan(store, &state, plans).await?, history(store, id).await) {
            (Some(plan), Ok(events)) => findings(&plan, &Snapshot { state, events, rows }).is_empty(),
            (_, Err(error)) if error.is_retryable() => return Err(error),
            (_, _) => false,
        };
        if !sound {
            left.push(id);
        }
    }
    Ok(left)
}

/// Looks at a workflow until it is clear whether it is wrong.
async fn confirm(
    store: &dyn Store,
    id: WorkflowId,
    plans: &mut Plans,
    report: &mut DoctorReport,
) -> Result<(), Error> {
    let mut wrong = 0;
    for _ in 0..MAX_SCANS {
        match scan(store, id, plans).await? {
            ScanResult::Missing => return Ok(()),
            ScanResult::Changed => wrong = 0,
            ScanResult::Stable(found) if found.is_empty() => return Ok(()),
            ScanResult::Stable(found) => {
                wrong += 1;
                if wrong >= CONFIRMATIONS {
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

async fn scan(store: &dyn Store, id: WorkflowId, plans: &mut Plans) -> Result<ScanResult, Error> {
    let unreadable =
        |why: String| ScanResult::Stable(vec![Finding { code: "GC3016", workflow: id.to_string(), detail: why }]);
    let state = match load(store, id).await {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(ScanResult::Missing),
        Err(error @ Error::Corrupt { .. }) => return Ok(unreadable(error.to_string())),
        Err(error) => return Err(error),
    };
    let seq = state.seq;
    let Some(plan) = plan(store, &state, plans).await? else {
        let why = format!("{} version {} is missing or unusable", state.definition, state.version);
        return Ok(unreadable(why));
    };
    let events = match history(store, id).await {
        Ok(events) => events,
        Err(error @ Error::Corrupt { .. }) => return Ok(unreadable(error.to_string())),
        Err(error) => return Err(error),
    };
    let rows = store.ledger(&[id]).await?;
    // What was read belongs together only if the workflow did not move on meanwhile.
    if load(store, id).await?.is_none_or(|now| now.seq != seq) {
        return Ok(ScanResult::Changed);
    }
    Ok(ScanResult::Stable(findings(&plan, &Snapshot { state, events, rows })))
}

async fn load(store: &dyn Store, id: WorkflowId) -> Result<Option<State>, Error> {
    Ok(store.load(&[id]).await?.into_iter().flatten().next().map(|loaded| loaded.state))
}

async fn history(store: &dyn Store, id: WorkflowId) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = store.history(id, after, EVENT_PAGE).await?;
        let full = page.len() >= usize::try_from(EVENT_PAGE).unwrap_or(usize::MAX);
        events.extend(page);
        if !full {
            return Ok(events);
        }
    }
}

async fn plan(store: &dyn Store, state: &State, plans: &mut Plans) -> Result<Option<Arc<Plan>>, Error> {
    let key = (state.namespace.clone(), state.definition.clone(), state.version);
    if let Some(plan) = plans.get(&key) {
        return Ok(plan.clone());
    }
    let record = match store.definition(&key.0, &key.1, Some(key.2)).await {
        Ok(record) => record,
        Err(Error::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let plan = record.and_then(|record| Plan::new(record.definition, record.version).ok()).map(Arc::new);
    plans.insert(key, plan.clone());
    Ok(plan)
}
