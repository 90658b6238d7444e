//! The fixture of the cases: a store under test, and functions that state expectations.

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
        expect_eq("the number of outcomes of a batch", &outcomes.len(), &expected)?;
        Ok(outcomes)
    }

    pub(super) async fn outcome(&self, write: Write) -> Result<WriteOutcome, String> {
        let mut outcomes = self.outcomes(vec![write]).await?;
        outcomes.pop().ok_or_else(|| "write returned no outcome".to_owned())
    }

    /// Writes a batch and expects every entry to be written.
    pub(super) async fn write(&self, batch: Vec<Write>) -> CaseResult {
        let outcomes = self.outcomes(batch).await?;
        let all: Vec<String> = outcomes.iter().map(describe).collect();
        ensure(all.iter().all(|each| each == "written"), || {
            format!("not all entries of the batch were written: {all:?}")
        })
    }

    /// Starts a workflow with the default options.
    pub(super) async fn start(&self, plan: &Arc<Plan>) -> Result<Flow, String> {
        self.start_with(plan, StartOptions::default()).await
    }

    pub(super) async fn start_with(&self, plan: &Arc<Plan>, options: StartOptions) -> Result<Flow, String> {
        let (flow, write) = Flow::start(plan, options)?;
        self.write(vec![unkeyed(write)]).await?;
        Ok(flow)
    }

    /// Applies an input to a workflow and writes the transition.
    pub(super) async fn apply(&self, flow: &mut Flow, input: &Input, now: Timestamp) -> CaseResult {
        let (next, write) = flow.next(input, now)?;
        self.write(vec![Write::Transition(write)]).await?;
        *flow = next;
        Ok(())
    }

    pub(super) async fn load(&self, id: WorkflowId) -> Result<Option<Loaded>, String> {
        let mut loaded = self.store.load(&[id]).await.map_err(unexpected("load"))?;
        expect_eq("the number of loaded workflows", &loaded.len(), &1)?;
        Ok(loaded.pop().flatten())
    }

    pub(super) async fn rows(&self, id: WorkflowId) -> Result<Vec<LedgerRow>, String> {
        self.store.ledger(&[id]).await.map_err(unexpected("ledger"))
    }

    /// Returns the ledger row with a key.
    pub(super) async fn row(&self, id: WorkflowId, key: OwedKey) -> Result<LedgerRow, String> {
        let rows = self.rows(id).await?;
        let found = rows.into_iter().find(|row| row.key.key == key);
        found.ok_or_else(|| format!("the ledger has no row with key {key}"))
    }

    /// Checks that the row, the history and the ledger of a workflow match its expected state.
    pub(super) async fn check_consistency(&self, flow: &Flow) -> CaseResult {
        let loaded = self.load(flow.id()).await?.ok_or("the workflow was not found")?;
        expect_eq("the state", &loaded.state, &flow.state)?;
        let history = self.store.history(flow.id(), 0, u32::MAX).await.map_err(unexpected("history"))?;
        expect_eq("the history", &history, &flow.events)?;
        let folded = history.iter().fold(None, evolve);
        expect_eq("the state folded from the history", &folded.as_ref(), &Some(&flow.state))?;
        let rows = self.rows(flow.id()).await?;
        let found: Vec<DerivedColumns> = rows.iter().map(derived_columns).collect();
        let mut expected = expected_rows(flow);
        for (expected, row) in expected.iter_mut().zip(&rows).filter(|(_, row)| row.deliveries > 0) {
            expected.4 = stored_due(row);
        }
        expect_eq("the ledger", &found, &expected)?;
        for row in rows {
            expect_eq("the workflow of a ledger row", &row.key.id, &flow.id())?;
            expect_eq("the namespace of a ledger row", &row.namespace, &flow.state.namespace)?;
        }
        Ok(())
    }

    pub(super) async fn claim(&self, request: &ClaimRequest) -> Result<Vec<LedgerRow>, String> {
        Ok(self.store.claim(request).await.map_err(unexpected("claim"))?.rows)
    }
}

type DerivedColumns = (String, u32, Option<String>, RowKind, Option<Timestamp>);

/// Returns the columns of a row that follow from the state. The due time does so only until the first delivery.
fn derived_columns(row: &LedgerRow) -> DerivedColumns {
    (row.key.key.to_string(), row.key.attempt, row.service.clone(), row.kind, stored_due(row))
}

fn stored_due(row: &LedgerRow) -> Option<Timestamp> {
    (row.kind == RowKind::Run && row.deliveries == 0).then_some(row.due_at)
}

fn expected_rows(flow: &Flow) -> Vec<DerivedColumns> {
    let mut rows: Vec<DerivedColumns> = owed(&flow.plan, &flow.state)
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

/// Returns a request for the execute lanes of services, without timers.
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

/// Returns a request for timers only.
pub(super) fn timers(now: Timestamp) -> ClaimRequest {
    ClaimRequest { timers: true, ..lanes(&[], now) }
}

/// Describes an outcome for messages and comparisons.
pub(super) fn describe(outcome: &WriteOutcome) -> String {
    match outcome {
        WriteOutcome::Written => "written".to_owned(),
        WriteOutcome::Replayed(loaded) => format!("replayed {} at {}", loaded.state.id, loaded.state.seq),
        WriteOutcome::KeyConflict(id) => format!("key conflict with {id}"),
        WriteOutcome::Lost(loaded) => {
            format!("write conflict, {} is at {}", loaded.state.id, loaded.state.seq)
        }
        WriteOutcome::Missing => "missing".to_owned(),
    }
}

pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(message()) }
}

/// Expects two values to be equal. The message abbreviates long values.
pub(super) fn expect_eq<T: PartialEq + Debug>(subject: &str, found: &T, expected: &T) -> CaseResult {
    ensure(found == expected, || format!("{subject}: got {}, expected {}", short(found), short(expected)))
}

fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.len() <= 400 {
        return text;
    }
    format!("{}… ({} bytes)", text.chars().take(400).collect::<String>(), text.len())
}

pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call} failed: {error}")
}
