//! What the cases are written in: a store under test, and expectations.

use std::fmt::Debug;
use std::sync::Arc;

use goconductor_saga::{Due, Input, OwedKey, Plan, Side, Timestamp, WorkflowId, evolve, owed};

pub(super) use super::flow::{
    Flow, NAMESPACE, REDELIVERY, StartOptions, at, cancel, command, compensated, definition, done,
    done_at_attempt, done_with, failed, keyed, new_id, order, parallel, pause, plan_of, publishing, refused,
    report, resume, step, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{ClaimRequest, Error, LaneClaim, LedgerRow, Loaded, RowKind, Store, Write, WriteOutcome};

/// A store under test.
#[derive(Debug, Clone)]
pub(super) struct Fixture {
    pub(super) store: Arc<dyn Store>,
}

impl Fixture {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { store: factory.open().await? })
    }

    pub(super) async fn outcomes(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, String> {
        let expected = batch.len();
        let outcomes = self.store.write(batch).await.map_err(unexpected("write"))?;
        expect_eq("how many outcomes a batch has", &outcomes.len(), &expected)?;
        Ok(outcomes)
    }

    pub(super) async fn outcome(&self, write: Write) -> Result<WriteOutcome, String> {
        let mut outcomes = self.outcomes(vec![write]).await?;
        outcomes.pop().ok_or_else(|| "no outcome".to_owned())
    }

    /// A batch of which each member has to be written.
    pub(super) async fn write(&self, batch: Vec<Write>) -> CaseResult {
        let outcomes = self.outcomes(batch).await?;
        let all: Vec<String> = outcomes.iter().map(describe).collect();
        ensure(all.iter().all(|each| each == "written"), || format!("not all were written: {all:?}"))
    }

    /// A workflow that is started.
    pub(super) async fn start(&self, plan: &Arc<Plan>) -> Result<Flow, String> {
        self.start_with(plan, StartOptions::default()).await
    }

    pub(super) async fn start_with(&self, plan: &Arc<Plan>, given: StartOptions) -> Result<Flow, String> {
        let (flow, write) = Flow::start(plan, given)?;
        self.write(vec![unkeyed(write)]).await?;
        Ok(flow)
    }

    /// Moves a workflow on.
    pub(super) async fn apply(&self, flow: &mut Flow, input: &Input, now: Timestamp) -> CaseResult {
        let (next, write) = flow.next(input, now)?;
        self.write(vec![Write::Transition(write)]).await?;
        *flow = next;
        Ok(())
    }

    pub(super) async fn load(&self, id: WorkflowId) -> Result<Option<Loaded>, String> {
        let mut loaded = self.store.load(&[id]).await.map_err(unexpected("load"))?;
        expect_eq("how many were loaded", &loaded.len(), &1)?;
        Ok(loaded.pop().flatten())
    }

    pub(super) async fn rows(&self, id: WorkflowId) -> Result<Vec<LedgerRow>, String> {
        self.store.ledger(&[id]).await.map_err(unexpected("ledger"))
    }

    /// The one row of the ledger with this key.
    pub(super) async fn row(&self, id: WorkflowId, key: OwedKey) -> Result<LedgerRow, String> {
        let rows = self.rows(id).await?;
        let found = rows.into_iter().find(|row| row.key.key == key);
        found.ok_or_else(|| format!("the ledger has no row {key}"))
    }

    /// Its row, its history and its ledger are what they have to be.
    pub(super) async fn check_consistency(&self, flow: &Flow) -> CaseResult {
        let loaded = self.load(flow.id()).await?.ok_or("the workflow is not there")?;
        expect_eq("the state", &loaded.state, &flow.state)?;
        let history = self.store.history(flow.id(), 0, u32::MAX).await.map_err(unexpected("history"))?;
        expect_eq("the history", &history, &flow.events)?;
        let folded = history.iter().fold(None, evolve);
        expect_eq("the history, folded", &folded.as_ref(), &Some(&flow.state))?;
        let rows = self.rows(flow.id()).await?;
        let found: Vec<AsOwed> = rows.iter().map(as_owed).collect();
        let mut expected = expected_rows(flow);
        for (expected, row) in expected.iter_mut().zip(&rows).filter(|(_, row)| row.deliveries > 0) {
            expected.4 = found_due(row);
        }
        expect_eq("the ledger", &found, &expected)?;
        for row in rows {
            expect_eq("a ledger row's workflow", &row.key.id, &flow.id())?;
            expect_eq("a ledger row's namespace", &row.namespace, &flow.state.namespace)?;
        }
        Ok(())
    }

    pub(super) async fn claim(&self, request: &ClaimRequest) -> Result<Vec<LedgerRow>, String> {
        Ok(self.store.claim(request).await.map_err(unexpected("claim"))?.rows)
    }
}

type AsOwed = (String, u32, Option<String>, RowKind, Option<Timestamp>);

/// What of a row follows from the state: when a row is due, unless it was delivered.
fn as_owed(row: &LedgerRow) -> AsOwed {
    (row.key.key.to_string(), row.key.attempt, row.service.clone(), row.kind, found_due(row))
}

fn found_due(row: &LedgerRow) -> Option<Timestamp> {
    (row.kind == RowKind::Run && row.deliveries == 0).then_some(row.due_at)
}

fn expected_rows(flow: &Flow) -> Vec<AsOwed> {
    let mut rows: Vec<AsOwed> = owed(&flow.plan, &flow.state)
        .into_iter()
        .map(|row| {
            let (kind, due) = match row.due {
                Due::At(at) => (RowKind::Run, Some(at)),
                Due::Held => (RowKind::Held, None),
                Due::Withdraw => (RowKind::Withdraw, None),
            };
            (row.key.to_string(), row.attempt, row.service, kind, due)
        })
        .collect();
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    rows
}

/// A claim of these services' executes, without timers.
pub(super) fn lanes(services: &[&str], now: Timestamp) -> ClaimRequest {
    ClaimRequest {
        shard: None,
        fence: None,
        now,
        lanes: services.iter().map(|service| lane(service, Side::Execute)).collect(),
        timers: false,
        limit: 100,
        redelivery: REDELIVERY,
    }
}

pub(super) fn lane(service: &str, side: Side) -> LaneClaim {
    LaneClaim {
        namespace: NAMESPACE.to_owned(),
        service: service.to_owned(),
        side,
        waiting_since: None,
        limit: 100,
    }
}

/// A claim of timers only.
pub(super) fn timers(now: Timestamp) -> ClaimRequest {
    ClaimRequest { timers: true, ..lanes(&[], now) }
}

/// An outcome in a word.
pub(super) fn describe(outcome: &WriteOutcome) -> String {
    match outcome {
        WriteOutcome::Written => "written".to_owned(),
        WriteOutcome::Replayed(loaded) => format!("replayed {} at {}", loaded.state.id, loaded.state.seq),
        WriteOutcome::KeyConflict(id) => format!("conflict with {id}"),
        WriteOutcome::Lost(loaded) => format!("lost {} at {}", loaded.state.id, loaded.state.seq),
        WriteOutcome::Missing => "missing".to_owned(),
    }
}

pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Both are equal; what is long is cut.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> CaseResult {
    ensure(found == expected, || format!("{what}: {} where {} was expected", short(found), short(expected)))
}

fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.len() <= 400 {
        return text;
    }
    format!("{}… ({} bytes)", text.chars().take(400).collect::<String>(), text.len())
}

pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {error}")
}
