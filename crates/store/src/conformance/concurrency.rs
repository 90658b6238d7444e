//! Concurrent writers of the same workflows in different orders, with concurrent claims, extensions and releases. No call
//! fails, and no write is lost or applied twice.

use std::sync::Arc;

use goconductor_saga::{Plan, Status, WorkflowId};

use super::fixture::{Fixture, Flow, at, describe, done, ensure, expect_eq, lanes, parallel, unexpected};
use super::{CaseResult, Factory};
use crate::{ClaimRequest, Write, WriteOutcome};

const WRITERS: u32 = 6;
const WORKFLOWS: usize = 12;

pub(super) async fn writers_and_claimers(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = parallel(WRITERS, "work")?;
    let mut ids = Vec::new();
    for _ in 0..WORKFLOWS {
        ids.push(fixture.start(&plan).await?.id());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for branch in 0..WRITERS {
        tasks.spawn(write_branch(fixture.clone(), Arc::clone(&plan), ids.clone(), branch));
    }
    for claimer in 0..3 {
        tasks.spawn(deliver(fixture.clone(), claimer));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    for id in ids {
        let state = fixture.load(id).await?.ok_or("a workflow was not found")?.state;
        expect_eq("the final status", &state.status(), &Status::Completed)?;
        let events = fixture.store.history(id, 0, u32::MAX).await.map_err(unexpected("history"))?;
        fixture.check_consistency(&Flow { plan: Arc::clone(&plan), state, events }).await?;
    }
    Ok(())
}

/// Completes one branch of each workflow and retries on conflicts. Each writer visits the workflows in another order.
async fn write_branch(
    fixture: Fixture,
    plan: Arc<Plan>,
    mut ids: Vec<WorkflowId>,
    branch: u32,
) -> CaseResult {
    let turn = usize::try_from(branch).unwrap_or_default() * 5 % ids.len();
    ids.rotate_left(turn);
    if branch % 2 == 1 {
        ids.reverse();
    }
    let mut rounds = 0;
    while !ids.is_empty() {
        rounds += 1;
        ensure(rounds < 1_000, || {
            format!("the writer of branch {branch} starved: {} workflows remain", ids.len())
        })?;
        let loaded = fixture.store.load(&ids).await.map_err(unexpected("load"))?;
        let mut batch = Vec::new();
        for state in loaded.into_iter().flatten().map(|loaded| loaded.state) {
            let flow = Flow { plan: Arc::clone(&plan), state, events: Vec::new() };
            batch.push(Write::Transition(flow.next(&done(branch), at(1))?.1));
        }
        let outcomes = fixture.outcomes(batch).await?;
        let mut left = Vec::new();
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                WriteOutcome::Written => {}
                WriteOutcome::Lost(_) => left.push(id),
                other => return Err(format!("the outcome of a concurrent write: {}", describe(&other))),
            }
        }
        ids = left;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Claims rows and extends or releases them, in varying order.
async fn deliver(fixture: Fixture, claimer: i64) -> CaseResult {
    for turn in 0..25 {
        let request = ClaimRequest { limit: 20, timers: true, ..lanes(&["work"], at(turn * 10)) };
        let mut keys: Vec<_> = fixture.claim(&request).await?.into_iter().map(|row| row.key).collect();
        if (turn + claimer) % 2 == 1 {
            keys.reverse();
        }
        if (turn + claimer) % 3 == 1 {
            fixture.store.release(&keys).await.map_err(unexpected("release"))?;
        } else {
            fixture.store.extend(&keys, at(turn * 10 + 5)).await.map_err(unexpected("extend"))?;
        }
        if claimer == 0 {
            fixture.store.expire_deliveries(at(turn * 10)).await.map_err(unexpected("expire_deliveries"))?;
        }
    }
    Ok(())
}
