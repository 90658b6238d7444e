//! Payloads that workflows carry by reference.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{PayloadDigest, Timestamp, WorkflowId};

use super::fixture::{Fixture, Flow, StartOptions, at, done, expect_eq, new_id, order, unexpected, unkeyed};
use super::{CaseResult, Factory};
use crate::{MaintenanceRequest, PayloadChunk, PayloadLink, StoredPayload};

/// Seconds after which each link of these cases is checked.
const AFTER_GRACE: i64 = 10_000;

fn payload(namespace: &str) -> StoredPayload {
    StoredPayload { namespace: namespace.to_owned(), digest: PayloadDigest([7; 32]) }
}

async fn link(
    fixture: &Fixture,
    payload: &StoredPayload,
    workflow: WorkflowId,
    now: Timestamp,
) -> Result<bool, String> {
    let link = PayloadLink { payload: payload.clone(), workflow, chunks: 2, now };
    fixture.store.link_payload(&link).await.map_err(unexpected("link_payload"))
}

async fn put(fixture: &Fixture, payload: &StoredPayload, number: u32, data: &[u8]) -> CaseResult {
    let chunk = PayloadChunk { payload: payload.clone(), number, data: data.to_vec() };
    fixture.store.put_payload_chunk(&chunk).await.map_err(unexpected("put_payload_chunk"))
}

async fn chunk(
    fixture: &Fixture,
    payload: &StoredPayload,
    workflow: WorkflowId,
    number: u32,
) -> Result<Option<Vec<u8>>, String> {
    let found = fixture.store.payload_chunk(payload, workflow, number).await;
    found.map_err(unexpected("payload_chunk"))
}

async fn maintain(fixture: &Fixture, seconds: i64) -> CaseResult {
    let request = MaintenanceRequest { now: at(seconds), retention: Some(Duration::from_secs(60)).into() };
    // One removes workflows, and the next checks the payloads that they had.
    for _ in 0..3 {
        fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    }
    Ok(())
}

pub(super) async fn stored_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (own, other) = (payload("a"), payload("b"));
    let (first, second) = (new_id(), new_id());
    let bytes: Vec<u8> = (0..=255).collect();
    expect_eq("a new payload", &link(&fixture, &own, first, at(0)).await?, &false)?;
    put(&fixture, &own, 1, b"end").await?;
    expect_eq("a payload with one of two chunks", &link(&fixture, &own, first, at(0)).await?, &false)?;
    put(&fixture, &own, 0, &bytes).await?;
    put(&fixture, &own, 0, b"the same chunk again").await?;
    expect_eq("a complete payload", &link(&fixture, &own, second, at(0)).await?, &true)?;
    expect_eq("the payload in another namespace", &link(&fixture, &other, first, at(0)).await?, &false)?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    expect_eq("the first chunk", &chunk(&reopened, &own, second, 0).await?, &Some(bytes))?;
    expect_eq("the last chunk", &chunk(&reopened, &own, first, 1).await?, &Some(b"end".to_vec()))?;
    expect_eq("a chunk past the end", &chunk(&reopened, &own, first, 2).await?, &None)?;
    expect_eq("the chunk in another namespace", &chunk(&reopened, &other, first, 0).await?, &None)?;
    let stranger = new_id();
    expect_eq("the chunk for a workflow without a link", &chunk(&reopened, &own, stranger, 0).await?, &None)
}

pub(super) async fn removed_after_last_workflow(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (mut ends, start) = Flow::start(&order()?, StartOptions::default())?;
    let stays = fixture.start(&order()?).await?;
    let own = payload("default");
    link(&fixture, &own, ends.id(), at(0)).await?;
    put(&fixture, &own, 0, b"one").await?;
    put(&fixture, &own, 1, b"two").await?;
    fixture.write(vec![unkeyed(start)]).await?;
    link(&fixture, &own, stays.id(), at(1)).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2)]) {
        fixture.apply(&mut ends, &input, at(number)).await?;
    }
    maintain(&fixture, AFTER_GRACE).await?;
    expect_eq("the chunk for the removed workflow", &chunk(&fixture, &own, ends.id(), 0).await?, &None)?;
    let kept = chunk(&fixture, &own, stays.id(), 0).await?;
    expect_eq("the chunk for the workflow that stays", &kept, &Some(b"one".to_vec()))?;
    let mut stays = stays;
    for (number, input) in (AFTER_GRACE..).zip([done(0), done(1), done(2)]) {
        fixture.apply(&mut stays, &input, at(number)).await?;
    }
    maintain(&fixture, 2 * AFTER_GRACE).await?;
    let linked = link(&fixture, &own, stays.id(), at(2 * AFTER_GRACE)).await?;
    expect_eq("the payload after its last workflow", &linked, &false)?;
    expect_eq("its chunk", &chunk(&fixture, &own, stays.id(), 0).await?, &None)
}

/// A payload of many chunks is removed by several calls, and can be stored again in between.
pub(super) async fn removed_in_parts(factory: Arc<dyn Factory>) -> CaseResult {
    const CHUNKS: u32 = 70;
    let fixture = Fixture::open(&factory).await?;
    let (own, first, second) = (payload("default"), new_id(), new_id());
    let link = |workflow, now| PayloadLink { payload: own.clone(), workflow, chunks: CHUNKS, now };
    let stored = fixture.store.link_payload(&link(first, at(0))).await.map_err(unexpected("link_payload"))?;
    expect_eq("a new payload", &stored, &false)?;
    for number in 0..CHUNKS {
        put(&fixture, &own, number, b"part").await?;
    }
    let request =
        MaintenanceRequest { now: at(AFTER_GRACE), retention: Some(Duration::from_secs(60)).into() };
    fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    let linked = fixture.store.link_payload(&link(second, at(AFTER_GRACE))).await;
    expect_eq("a payload in removal", &linked.map_err(unexpected("link_payload"))?, &false)?;
    for number in 0..CHUNKS {
        put(&fixture, &own, number, b"part").await?;
    }
    maintain(&fixture, AFTER_GRACE + 1).await?;
    let linked = fixture.store.link_payload(&link(second, at(AFTER_GRACE))).await;
    expect_eq("a payload that was stored again", &linked.map_err(unexpected("link_payload"))?, &true)?;
    maintain(&fixture, 2 * AFTER_GRACE).await?;
    maintain(&fixture, 2 * AFTER_GRACE).await?;
    let linked = fixture.store.link_payload(&link(second, at(2 * AFTER_GRACE))).await;
    expect_eq("a removed payload", &linked.map_err(unexpected("link_payload"))?, &false)?;
    expect_eq("its last chunk", &chunk(&fixture, &own, second, CHUNKS - 1).await?, &None)
}

pub(super) async fn removed_without_workflow(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (own, workflow) = (payload("default"), new_id());
    link(&fixture, &own, workflow, at(0)).await?;
    put(&fixture, &own, 0, b"one").await?;
    put(&fixture, &own, 1, b"two").await?;
    maintain(&fixture, 10).await?;
    let kept = chunk(&fixture, &own, workflow, 0).await?;
    expect_eq("the chunk before the grace ends", &kept, &Some(b"one".to_vec()))?;
    maintain(&fixture, AFTER_GRACE).await?;
    expect_eq("the chunk after the grace", &chunk(&fixture, &own, workflow, 0).await?, &None)?;
    let linked = link(&fixture, &own, workflow, at(AFTER_GRACE)).await?;
    expect_eq("the payload after the grace", &linked, &false)
}
