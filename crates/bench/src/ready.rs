//! Transitions that are ready to be written: for the state store alone, and for what is there beforehand.

use crate::limit::Bytes;
use crate::saga::{self, Saga};
use goconductor_saga::{LedgerChange, Plan, Transition, WorkflowId, transition};
use goconductor_store::conformance::flow::{Flow, Given, answered, publishing, refused, undone, unkeyed};
use goconductor_store::{NewWorkflow, Record, Store, TransitionWrite, Write, WriteOutcome};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

/// Workflows in one write where there are many: larger groups gain nothing.
const GROUP: usize = 500;

/// What a row of the ledger has beside its id and its service.
const LEDGER_ROW: usize = 80;

/// The transitions of one order, in order: its start, and one for each step.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) writes: Vec<Write>,
}

/// The orders' plan, and what starts one.
fn order() -> anyhow::Result<(Arc<Plan>, Given)> {
    // Now: what has ended long ago would be removed by and by.
    let (now, input) = (goconductor_saga_executor::now(), Saga::Order.input());
    Ok((saga::plan(&Saga::Order.source())?, Given { now, input, ..Given::default() }))
}

/// So many orders, each with its transitions.
pub(crate) fn orders(count: u64) -> anyhow::Result<Vec<Ready>> {
    let (plan, given) = order()?;
    (0..count).map(|_| one_order(&plan, Given { id: Some(new_id()), ..given.clone() })).collect()
}

fn one_order(plan: &Arc<Plan>, given: Given) -> anyhow::Result<Ready> {
    let now = given.now;
    let (mut flow, start) = Flow::start(plan, given).map_err(anyhow::Error::msg)?;
    let mut writes = vec![unkeyed(publishing(start))];
    for step in 0..3 {
        let (next, write) = flow.next(&answered(step, output()), now).map_err(anyhow::Error::msg)?;
        writes.push(Write::Transition(publishing(write)));
        flow = next;
    }
    Ok(Ready { writes })
}

/// What a transition of an order writes, on average.
pub(crate) fn bytes() -> anyhow::Result<Bytes> {
    let order = orders(1)?.into_iter().next().unwrap_or_default();
    let records: Vec<&Record> = order
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
    Ok(Bytes {
        state: average(records.iter().map(|record| record.state.len()).collect()),
        events: events().count() / records.len().max(1),
        event: average(events().map(|(_, event)| event.len()).collect()),
        // A row names its service twice, once with its lane; it has five numbers, and its namespace and kind.
        ledger: LEDGER_ROW + 2 * average(services),
    })
}

fn new_id() -> WorkflowId {
    WorkflowId(Uuid::now_v7())
}

fn output() -> goconductor_saga::Json {
    crate::participant::output()
}

/// Workflows that are there before anything is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filling {
    /// That have ended: of ten, nine completed and one was rolled back.
    pub(crate) ended: u64,
    /// That wait for a service that nobody runs.
    pub(crate) waiting: u64,
}

impl Filling {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn count(self) -> u64 {
        self.ended + self.waiting
    }

    /// Writes them, so many groups at once; how many at a time is told.
    pub(crate) async fn write(
        self,
        store: &dyn Store,
        lanes: usize,
        written: &dyn Fn(u64),
    ) -> anyhow::Result<()> {
        use futures::stream::{StreamExt, TryStreamExt};
        let molds = Molds::new()?;
        let writes = (0..self.count()).map(|number| {
            let mold = if number >= self.ended {
                &molds.waiting
            } else if number % 10 == 9 {
                &molds.rolled_back
            } else {
                &molds.completed
            };
            cast(mold)
        });
        let groups = futures::stream::iter(Groups { writes });
        let write = |group: Vec<Write>| async move {
            let count = crate::figures::to_u64(group.len());
            let outcomes = store.write(group).await?;
            let all = outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Written));
            anyhow::ensure!(all, "not all of a group were written");
            written(count);
            Ok(())
        };
        groups.map(write).buffer_unordered(lanes).try_collect::<()>().await
    }
}

/// Gives out what is made in groups, as they are asked for.
struct Groups<I> {
    writes: I,
}

impl<I: Iterator<Item = Write>> Iterator for Groups<I> {
    type Item = Vec<Write>;

    fn next(&mut self) -> Option<Vec<Write>> {
        let group: Vec<Write> = self.writes.by_ref().take(GROUP).collect();
        (!group.is_empty()).then_some(group)
    }
}

/// One workflow of each kind, whole, as others are cast from it.
struct Molds {
    completed: TransitionWrite,
    rolled_back: TransitionWrite,
    waiting: TransitionWrite,
}

impl Molds {
    fn new() -> anyhow::Result<Self> {
        let (plan, given) = order()?;
        let wrong = anyhow::Error::msg;
        let mut completed = Flow::start(&plan, given.clone()).map_err(anyhow::Error::msg)?.0;
        for step in 0..3 {
            completed = completed.next(&answered(step, output()), given.now).map_err(wrong)?.0;
        }
        let mut rolled_back = Flow::start(&plan, given.clone()).map_err(anyhow::Error::msg)?.0;
        let answers = [answered(0, output()), answered(1, output())];
        for news in answers.into_iter().chain([refused(2), undone(1), undone(0)]) {
            rolled_back = rolled_back.next(&news, given.now).map_err(wrong)?.0;
        }
        let waiting = Flow::start(&saga::plan(&saga::waiting().1)?, given).map_err(anyhow::Error::msg)?.1;
        let (completed, rolled_back) = (whole(completed, &waiting)?, whole(rolled_back, &waiting)?);
        Ok(Self { completed, rolled_back, waiting })
    }
}

/// All that happened to a workflow, as one transition from nothing.
fn whole(flow: Flow, like: &TransitionWrite) -> anyhow::Result<TransitionWrite> {
    let all: Transition = transition(&flow.plan, None, flow.events, flow.state);
    Ok(TransitionWrite { record: Arc::new(Record::of(&all)?), ..like.clone() })
}

/// Another workflow of the same kind.
fn cast(mold: &TransitionWrite) -> Write {
    let mut record = (*mold.record).clone();
    let old = std::mem::replace(&mut record.id, new_id()).to_string();
    let renamed = |text: &str| text.replace(&old, &record.id.to_string()).into();
    let state = renamed(&record.state);
    let events = record.events.iter().map(|(seq, event)| (*seq, renamed(event))).collect();
    let write = TransitionWrite { record: Arc::new(Record { state, events, ..record }), ..mold.clone() };
    let request_digest = json!(null).to_string();
    Write::Start(NewWorkflow { write, idempotency_key: None, request_digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Status;
    use goconductor_store::Field;
    use goconductor_store::sqlite::SqliteStore;
    use std::cell::Cell;

    #[tokio::test]
    async fn what_is_there_beforehand_is_as_if_it_had_run() {
        let store = SqliteStore::ephemeral().unwrap();
        let told = Cell::new(0);
        let filling = Filling { ended: 1020, waiting: 30 };
        filling.write(&store, 2, &|count| told.set(told.get() + count)).await.unwrap();
        assert_eq!(told.get(), 1050);
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
        assert_eq!(ledger.len(), 30, "only those that wait are owed anything");
    }

    #[test]
    fn an_order_is_four_transitions_and_ends() {
        let orders = orders(2).unwrap();
        for order in orders {
            assert_eq!(order.writes.len(), 4);
            let Some(Write::Transition(last)) = order.writes.last() else { panic!("no transition") };
            assert_eq!(last.record.status, Status::Completed);
            assert_eq!(last.record.ledger.len(), 1);
        }
    }
}
