//! Batches: a set of workflows that is selected once, and results that are recorded once, by one runner at a time.

use super::fixture::{Fixture, NAMESPACE, StartOptions, at, done, ensure, expect_eq, order, unexpected};
use super::lists::all;
use super::{CaseResult, Factory};
use crate::{
    BatchChange, BatchCounts, BatchId, BatchItemResult, BatchItemStatus, BatchLease, BatchOperation,
    BatchStatus, Filter, ListRequest, MaintenanceRequest, TakenItem, WorkflowBatch,
};
use goconductor_saga::{Timestamp, WorkflowId};
use std::sync::Arc;
use std::time::Duration;

/// A lease that does not end during a case.
const LONG: Duration = Duration::from_secs(3600);

fn batch(namespace: &str) -> WorkflowBatch {
    WorkflowBatch {
        id: BatchId(uuid::Uuid::now_v7()),
        namespace: namespace.to_owned(),
        status: BatchStatus::Selecting,
        operation: BatchOperation::Skip,
        step: Some("pay \u{0}".to_owned()),
        filter: "status = ERROR".to_owned(),
        reason: "ä \u{0}".to_owned(),
        actor: Some("user:ada".to_owned()),
        rate: 50,
        created_at: at(1),
        ended_at: None,
        counts: BatchCounts::default(),
    }
}

fn to(from: &[BatchStatus], to: BatchStatus, total: Option<u64>) -> BatchChange {
    BatchChange { from: from.to_vec(), to, total }
}

async fn change(fixture: &Fixture, id: BatchId, change: BatchChange) -> Result<(BatchStatus, bool), String> {
    let changed =
        fixture.store.change_batch(NAMESPACE, id, &change).await.map_err(unexpected("change_batch"))?;
    changed
        .map(|(batch, changed)| (batch.status, changed))
        .ok_or_else(|| "the batch was not found".to_owned())
}

/// Starts workflows and creates a running batch of all of them. Returns the workflows, oldest first.
async fn running(fixture: &Fixture, count: u64) -> Result<(WorkflowBatch, Vec<WorkflowId>), String> {
    let plan = order()?;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(fixture.start(&plan).await?.id());
    }
    let batch = batch(NAMESPACE);
    fixture.store.create_batch(&batch).await.map_err(unexpected("create_batch"))?;
    let page = ListRequest { filter: Some(Filter::open()), ..all(NAMESPACE) };
    let selected =
        fixture.store.select_batch_items(batch.id, &page).await.map_err(unexpected("select_batch_items"))?;
    expect_eq("the number of selected workflows", &selected.count, &count)?;
    change(fixture, batch.id, to(&[BatchStatus::Selecting], BatchStatus::Running, Some(count))).await?;
    Ok((batch, ids))
}

async fn lease(fixture: &Fixture, ttl: Duration) -> Result<Option<BatchLease>, String> {
    let leased = fixture.store.lease_batch(ttl).await.map_err(unexpected("lease_batch"))?;
    Ok(leased.map(|(_, lease)| lease))
}

async fn take(fixture: &Fixture, lease: BatchLease, limit: u32) -> Result<Option<Vec<TakenItem>>, String> {
    fixture.store.take_batch_items(lease, LONG, limit).await.map_err(unexpected("take_batch_items"))
}

async fn finish(
    fixture: &Fixture,
    lease: BatchLease,
    results: &[(WorkflowId, BatchItemStatus)],
) -> Result<bool, String> {
    let result = |(workflow, status): &(WorkflowId, BatchItemStatus)| BatchItemResult {
        workflow: *workflow,
        status: *status,
        code: (*status != BatchItemStatus::Done).then(|| "GC2015".to_owned()),
        detail: (*status != BatchItemStatus::Done).then(|| "ended \u{0}".to_owned()),
    };
    let results: Vec<BatchItemResult> = results.iter().map(result).collect();
    fixture.store.finish_batch_items(lease, &results).await.map_err(unexpected("finish_batch_items"))
}

async fn stored(fixture: &Fixture, id: BatchId) -> Result<WorkflowBatch, String> {
    let found = fixture.store.batch(NAMESPACE, id).await.map_err(unexpected("batch"))?;
    found.ok_or_else(|| "the batch was not found".to_owned())
}

async fn items(
    fixture: &Fixture,
    id: BatchId,
    status: Option<BatchItemStatus>,
) -> Result<Vec<WorkflowId>, String> {
    let found = fixture.store.batch_items(id, status, None, 1000).await.map_err(unexpected("batch_items"))?;
    Ok(found.into_iter().map(|item| item.workflow).collect())
}

pub(super) async fn selected_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut ids = Vec::new();
    for _ in 0..25 {
        ids.push(fixture.start(&plan).await?.id());
        let other = StartOptions { namespace: "other".to_owned(), ..StartOptions::default() };
        fixture.start_with(&plan, other).await?;
    }
    let mut ended = fixture.start(&plan).await?;
    for step in 0..3 {
        fixture.apply(&mut ended, &done(step), at(2)).await?;
    }
    let created = batch(NAMESPACE);
    let create = async || fixture.store.create_batch(&created).await.map_err(unexpected("create_batch"));
    expect_eq("whether a new batch was stored", &create().await?, &true)?;
    expect_eq("whether the batch was stored again", &create().await?, &false)?;
    let mut page = ListRequest { filter: Some(Filter::open()), limit: 10, ..all(NAMESPACE) };
    let select = async |page: &ListRequest| {
        fixture.store.select_batch_items(created.id, page).await.map_err(unexpected("select_batch_items"))
    };
    let mut count = 0;
    loop {
        let selected = select(&page).await?;
        expect_eq("a repeated page", &select(&page).await?, &selected)?;
        // It starts after the selection has begun.
        fixture.start(&plan).await?;
        count += selected.count;
        page.before = selected.last;
        if !selected.more {
            break;
        }
    }
    expect_eq("the number of selected workflows", &count, &25)?;
    expect_eq("a lease of a batch that is selected", &lease(&fixture, LONG).await?, &None)?;
    let list = async || fixture.store.batches(NAMESPACE, None, 10).await.map_err(unexpected("batches"));
    expect_eq("the list while the workflows are selected", &list().await?, &Vec::new())?;
    let opened = change(&fixture, created.id, to(&[BatchStatus::Selecting], BatchStatus::Running, Some(25)));
    expect_eq("the opened batch", &opened.await?, &(BatchStatus::Running, true))?;
    let counts = BatchCounts { total: 25, ..BatchCounts::default() };
    let expected = WorkflowBatch { status: BatchStatus::Running, counts, ..created.clone() };
    expect_eq("the stored batch", &stored(&fixture, created.id).await?, &expected)?;
    expect_eq("the list", &list().await?, &vec![expected])?;
    let late = ListRequest { filter: Some(Filter::open()), ..all(NAMESPACE) };
    select(&late).await?;
    expect_eq("the workflows", &items(&fixture, created.id, None).await?, &ids)?;
    let page = fixture.store.batch_items(created.id, Some(BatchItemStatus::Pending), ids.get(9).copied(), 5);
    let page = page.await.map_err(unexpected("batch_items"))?;
    let page: Vec<WorkflowId> = page.into_iter().map(|item| item.workflow).collect();
    expect_eq("a page of the workflows", &page, &ids.into_iter().skip(10).take(5).collect())
}

pub(super) async fn recorded_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (batch, ids) = running(&fixture, 5).await?;
    let first = lease(&fixture, Duration::ZERO).await?.ok_or("the batch cannot be leased")?;
    let second = lease(&fixture, LONG).await?.ok_or("a lease that ended cannot be acquired")?;
    ensure(second.token > first.token, || format!("the token did not rise: {first:?}, {second:?}"))?;
    expect_eq("a lease of a leased batch", &lease(&fixture, LONG).await?, &None)?;
    expect_eq("the items of a lost lease", &take(&fixture, first, 2).await?, &None)?;
    let taken = take(&fixture, second, 3).await?.ok_or("the lease was lost")?;
    let took: Vec<(WorkflowId, bool)> = taken.iter().map(|item| (item.workflow, item.is_repeated)).collect();
    let new: Vec<(WorkflowId, bool)> = ids.iter().take(3).map(|id| (*id, false)).collect();
    expect_eq("the first items", &took, &new)?;
    ensure(taken.iter().all(|item| item.seq > 0), || format!("an item has no seq: {taken:?}"))?;
    let [one, two, three, four, five] = *ids.as_slice() else {
        return Err("five workflows are expected".to_owned());
    };
    let (applied, refused) = ((one, BatchItemStatus::Done), (two, BatchItemStatus::Refused));
    expect_eq("results of a lost lease", &finish(&fixture, first, &[applied, refused]).await?, &false)?;
    for _ in 0..2 {
        // A repeated record has no effect, and neither has one of an item that was not taken.
        let results = [applied, refused, (four, BatchItemStatus::Done)];
        expect_eq("whether the results were recorded", &finish(&fixture, second, &results).await?, &true)?;
    }
    let counts = BatchCounts { total: 5, done: 1, refused: 1, failed: 0 };
    expect_eq("the counts", &stored(&fixture, batch.id).await?.counts, &counts)?;
    let rest = take(&fixture, second, 10).await?.ok_or("the lease was lost")?;
    let rest: Vec<(WorkflowId, bool)> = rest.iter().map(|item| (item.workflow, item.is_repeated)).collect();
    expect_eq("the other items", &rest, &vec![(three, true), (four, false), (five, false)])?;
    let results = [three, four, five].map(|id| (id, BatchItemStatus::Failed));
    finish(&fixture, second, &results).await?;
    expect_eq(
        "the items of a batch with all results",
        &take(&fixture, second, 10).await?,
        &Some(Vec::new()),
    )?;
    let ended = stored(&fixture, batch.id).await?;
    expect_eq("the status at the end", &ended.status, &BatchStatus::Completed)?;
    ensure(ended.ended_at.is_some(), || "the batch has no end".to_owned())?;
    expect_eq("the counts at the end", &ended.counts, &BatchCounts { failed: 3, ..counts })?;
    expect_eq(
        "the refused workflows",
        &items(&fixture, batch.id, Some(BatchItemStatus::Refused)).await?,
        &vec![two],
    )?;
    let refused = fixture.store.batch_items(batch.id, Some(BatchItemStatus::Refused), None, 1).await;
    let detail = refused.map_err(unexpected("batch_items"))?.pop().and_then(|item| item.detail);
    expect_eq("the detail of a refused workflow", &detail.as_deref(), &Some("ended \u{0}"))?;
    expect_eq("a lease of an ended batch", &lease(&fixture, LONG).await?, &None)
}

pub(super) async fn controlled(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (batch, ids) = running(&fixture, 3).await?;
    let held = lease(&fixture, LONG).await?.ok_or("the batch cannot be leased")?;
    let taken = take(&fixture, held, 1).await?.ok_or("the lease was lost")?;
    let (run, pause) = ([BatchStatus::Running], [BatchStatus::Paused]);
    let paused = change(&fixture, batch.id, to(&run, BatchStatus::Paused, None)).await?;
    expect_eq("a paused batch", &paused, &(BatchStatus::Paused, true))?;
    let again = change(&fixture, batch.id, to(&run, BatchStatus::Paused, None)).await?;
    expect_eq("a batch that is paused again", &again, &(BatchStatus::Paused, false))?;
    expect_eq("the items of a paused batch", &take(&fixture, held, 1).await?, &None)?;
    // The operation in flight has ended.
    let results: Vec<_> = taken.iter().map(|item| (item.workflow, BatchItemStatus::Done)).collect();
    expect_eq("whether its result was recorded", &finish(&fixture, held, &results).await?, &true)?;
    change(&fixture, batch.id, to(&pause, BatchStatus::Running, None)).await?;
    let next = take(&fixture, held, 5).await?.ok_or("the lease was lost")?;
    let next: Vec<WorkflowId> = next.iter().map(|item| item.workflow).collect();
    expect_eq("the items of a resumed batch", &next, &ids.into_iter().skip(1).collect())?;
    for namespace in ["other", ""] {
        let found = fixture.store.batch(namespace, batch.id).await.map_err(unexpected("batch"))?;
        expect_eq("a batch of another namespace", &found, &None)?;
        let cancel = to(&run, BatchStatus::Cancelled, None);
        let changed = fixture.store.change_batch(namespace, batch.id, &cancel).await;
        expect_eq("its change", &changed.map_err(unexpected("change_batch"))?, &None)?;
    }
    let cancel = to(&[BatchStatus::Running, BatchStatus::Paused], BatchStatus::Cancelled, None);
    expect_eq(
        "a cancelled batch",
        &change(&fixture, batch.id, cancel).await?,
        &(BatchStatus::Cancelled, true),
    )?;
    expect_eq("the items of a cancelled batch", &take(&fixture, held, 5).await?, &None)?;
    let cancelled = stored(&fixture, batch.id).await?;
    ensure(cancelled.ended_at.is_some(), || "the cancelled batch has no end".to_owned())?;
    expect_eq("the workflows without a result", &cancelled.counts.pending(), &2)
}

pub(super) async fn removed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (discarded, _) = running(&fixture, 3).await?;
    change(&fixture, discarded.id, to(&[BatchStatus::Running], BatchStatus::Discarded, None)).await?;
    let (ended, _) = running_again(&fixture).await?;
    change(&fixture, ended.id, to(&[BatchStatus::Running], BatchStatus::Cancelled, None)).await?;
    let (open, _) = running_again(&fixture).await?;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    maintain(&fixture, now, Some(LONG)).await?;
    let exists = async |id| fixture.store.batch(NAMESPACE, id).await.map_err(unexpected("batch"));
    ensure(exists(discarded.id).await?.is_none(), || "a discarded batch was not removed".to_owned())?;
    ensure(exists(ended.id).await?.is_some(), || "an ended batch was removed too early".to_owned())?;
    maintain(&fixture, now.after(LONG * 2), Some(LONG)).await?;
    ensure(exists(ended.id).await?.is_none(), || "an ended batch was not removed".to_owned())?;
    expect_eq("its workflows", &items(&fixture, ended.id, None).await?, &Vec::new())?;
    ensure(exists(open.id).await?.is_some(), || "a running batch was removed".to_owned())
}

/// Creates another running batch of the workflows that exist.
async fn running_again(fixture: &Fixture) -> Result<(WorkflowBatch, u64), String> {
    let batch = batch(NAMESPACE);
    fixture.store.create_batch(&batch).await.map_err(unexpected("create_batch"))?;
    let page = ListRequest { filter: Some(Filter::open()), ..all(NAMESPACE) };
    let selected =
        fixture.store.select_batch_items(batch.id, &page).await.map_err(unexpected("select_batch_items"))?;
    change(fixture, batch.id, to(&[BatchStatus::Selecting], BatchStatus::Running, Some(selected.count)))
        .await?;
    Ok((batch, selected.count))
}

async fn maintain(fixture: &Fixture, now: Timestamp, retention: Option<Duration>) -> CaseResult {
    for _ in 0..100 {
        let request = MaintenanceRequest { now, retention: retention.into() };
        if !fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?.more {
            return Ok(());
        }
    }
    Err("the maintenance does not end".to_owned())
}
