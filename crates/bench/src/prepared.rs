//! Transitions that are decided before they are written: for the state store alone, and to preload a store.

use crate::limit::WriteSizes;
use crate::saga::{self, Saga};
use goconductor_saga::{LedgerChange, Plan, Transition, WorkflowId, transition};
use goconductor_store::conformance::flow::{
    Flow, StartOptions, compensated, done_with, publishing, refused, unkeyed,
};
use goconductor_store::{EncodedTransition, NewWorkflow, Store, TransitionWrite, Write, WriteOutcome};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

/// The number of workflows per write of a preload. Larger batches are not faster.
const BATCH_SIZE: usize = 500;

/// The size of a ledger row without its id and its service.
const LEDGER_ROW: usize = 80;

/// The transitions of one order: its start and one for each step.
#[derive(Debug, Default)]
pub(crate) struct PreparedOrder {
    pub(crate) writes: Vec<Write>,
}

/// Returns the plan of the orders and the parameters of a start.
fn order() -> anyhow::Result<(Arc<Plan>, StartOptions)> {
    // Use the current time: the retention would delete workflows that ended long ago.
    let (now, input) = (goconductor_saga_executor::now(), Saga::Order.input());
    Ok((saga::plan(&Saga::Order.source())?, StartOptions { now, input, ..StartOptions::default() }))
}

/// Returns `count` orders with their transitions.
pub(crate) fn orders(count: u64) -> anyhow::Result<Vec<PreparedOrder>> {
    let (plan, parameters) = order()?;
    (0..count).map(|_| one_order(&plan, StartOptions { id: Some(new_id()), ..parameters.clone() })).collect()
}

fn one_order(plan: &Arc<Plan>, parameters: StartOptions) -> anyhow::Result<PreparedOrder> {
    let now = parameters.now;
    let (mut flow, start) = Flow::start(plan, parameters).map_err(anyhow::Error::msg)?;
    let mut writes = vec![unkeyed(publishing(start))];
    for step in 0..3 {
        let (next, write) = flow.next(&done_with(step, output()), now).map_err(anyhow::Error::msg)?;
        writes.push(Write::Transition(publishing(write)));
        flow = next;
    }
    Ok(PreparedOrder { writes })
}

/// Returns the average size of the writes of a transition of an order.
pub(crate) fn bytes() -> anyhow::Result<WriteSizes> {
    let order = orders(1)?.into_iter().next().unwrap_or_default();
    let records: Vec<&EncodedTransition> = order
        .writes
        .iter()
        .map(|write| match write {
            Write::Start(new) => &*new.write.record,
            Write::Transition(write) => &*write.record,
        })
        .collect();
    let average = |sizes: Vec<usize>| sizes.iter().sum::<usize>() / sizes.len().max(1);
    let events = || records.iter().flat_map(|record| record.events.iter());
    let row = |change: &LedgerChange| match change {
        LedgerChange::Issue(row) | LedgerChange::Change(row) => {
            Some(row.service.as_deref().map_or(0, str::len))
        }
        LedgerChange::Settle(_) => None,
    };
    let services = records.iter().flat_map(|record| record.ledger.iter()).filter_map(row).collect();
    Ok(WriteSizes {
        state: average(records.iter().map(|record| record.state.len()).collect()),
        events: events().count() / records.len().max(1),
        event: average(events().map(|(_, event)| event.len()).collect()),
        // A row contains its service twice, once with its lane, and five numbers, the namespace and the kind.
        ledger: LEDGER_ROW + 2 * average(services),
    })
}

fn new_id() -> WorkflowId {
    WorkflowId(Uuid::now_v7())
}

fn output() -> goconductor_saga::Json {
    crate::participant::output()
}

/// The workflows in a store before a measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Preload {
    /// The number of ended workflows: nine of ten completed, one of ten was rolled back.
    pub(crate) ended: u64,
    /// The number of workflows that wait for a service without workers.
    pub(crate) waiting: u64,
}

impl Preload {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn count(self) -> u64 {
        self.ended + self.waiting
    }

    /// Writes the workflows in concurrent batches, and reports the number of each batch to `written`.
    pub(crate) async fn write(
        self,
        store: &dyn Store,
        max_concurrent_batches: usize,
        written: &dyn Fn(u64),
    ) -> anyhow::Result<()> {
        use futures::stream::{StreamExt, TryStreamExt};
        let templates = Templates::new()?;
        let writes = (0..self.count()).map(|number| {
            let template = if number >= self.ended {
                &templates.waiting
            } else if number % 10 == 9 {
                &templates.rolled_back
            } else {
                &templates.completed
            };
            instantiate(template)
        });
        let batches = futures::stream::iter(Batches { writes });
        let write = |batch: Vec<Write>| async move {
            let count = crate::figures::to_u64(batch.len());
            let outcomes = store.write(batch).await?;
            let all = outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Written));
            anyhow::ensure!(all, "the store did not write all workflows of a batch");
            written(count);
            Ok(())
        };
        batches.map(write).buffer_unordered(max_concurrent_batches).try_collect::<()>().await
    }
}

/// An iterator over batches that creates the writes on demand.
struct Batches<I> {
    writes: I,
}

impl<I: Iterator<Item = Write>> Iterator for Batches<I> {
    type Item = Vec<Write>;

    fn next(&mut self) -> Option<Vec<Write>> {
        let batch: Vec<Write> = self.writes.by_ref().take(BATCH_SIZE).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

/// One complete workflow of each kind, from which the others are instantiated.
struct Templates {
    completed: TransitionWrite,
    rolled_back: TransitionWrite,
    waiting: TransitionWrite,
}

impl Templates {
    fn new() -> anyhow::Result<Self> {
        let (plan, parameters) = order()?;
        let error = anyhow::Error::msg;
        let mut completed = Flow::start(&plan, parameters.clone()).map_err(anyhow::Error::msg)?.0;
        for step in 0..3 {
            completed = completed.next(&done_with(step, output()), parameters.now).map_err(error)?.0;
        }
        let mut rolled_back = Flow::start(&plan, parameters.clone()).map_err(anyhow::Error::msg)?.0;
        let outcomes = [done_with(0, output()), done_with(1, output())];
        for input in outcomes.into_iter().chain([refused(2), compensated(1), compensated(0)]) {
            rolled_back = rolled_back.next(&input, parameters.now).map_err(error)?.0;
        }
        let waiting =
            Flow::start(&saga::plan(&saga::waiting().1)?, parameters).map_err(anyhow::Error::msg)?.1;
        let (completed, rolled_back) =
            (single_transition(completed, &waiting)?, single_transition(rolled_back, &waiting)?);
        Ok(Self { completed, rolled_back, waiting })
    }
}

/// Combines the history of a workflow into one transition from the start.
fn single_transition(flow: Flow, like: &TransitionWrite) -> anyhow::Result<TransitionWrite> {
    let all: Transition = transition(&flow.plan, None, flow.events, flow.state);
    Ok(TransitionWrite { record: Arc::new(EncodedTransition::of(&all)?), ..like.clone() })
}

/// Creates another workflow of the same kind.
fn instantiate(template: &TransitionWrite) -> Write {
    let mut record = (*template.record).clone();
    let old = std::mem::replace(&mut record.id, new_id()).to_string();
    let renamed = |text: &str| text.replace(&old, &record.id.to_string()).into();
    let state = renamed(&record.state);
    let events = record.events.iter().map(|(seq, event)| (*seq, renamed(event))).collect();
    let write = TransitionWrite {
        record: Arc::new(EncodedTransition { state, events, ..record }),
        ..template.clone()
    };
    let request_digest = json!(null).to_string();
    Write::Start(NewWorkflow { write, idempotency_key: None, request_digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Status;
    use goconductor_store::sqlite::SqliteStore;
    use goconductor_store::{Field, LedgerStore, WorkflowStore};
    use std::cell::Cell;

    #[tokio::test]
    async fn preloaded_workflows_are_valid() {
        let store = SqliteStore::ephemeral().unwrap();
        let reported = Cell::new(0);
        let filling = Preload { ended: 1020, waiting: 30 };
        filling.write(&store, 2, &|count| reported.set(reported.get() + count)).await.unwrap();
        assert_eq!(reported.get(), 1050);
        let mut counts: Vec<(String, u64)> = store
            .counts("default", Field::Status, None)
            .await
            .unwrap()
            .into_iter()
            .map(|count| (count.value, count.count))
            .collect();
        counts.sort();
        let expected = [("COMPLETED", 918), ("QUEUED", 30), ("ROLLED_BACK", 102)];
        assert_eq!(counts, expected.map(|(value, count)| (value.to_owned(), count)));
        let ids = store.ids(None, 2000).await.unwrap();
        let ledger = store.ledger(&ids).await.unwrap();
        assert_eq!(ledger.len(), 30, "only waiting workflows have ledger rows");
    }

    #[test]
    fn order_has_four_transitions_and_completes() {
        let orders = orders(2).unwrap();
        for order in orders {
            assert_eq!(order.writes.len(), 4);
            let Some(Write::Transition(last)) = order.writes.last() else { panic!("no transition") };
            assert_eq!(last.record.status, Status::Completed);
            assert_eq!(last.record.ledger.len(), 1);
        }
    }
}
