//! The state store alone: transitions that were decided beforehand, written as fast as it takes them.

use crate::database::Database;
use crate::figures::{Latencies, Percentiles, per_second, rounded, whole};
use crate::limit::apart;
use crate::proc;
use crate::ready::{self, Ready};
use goconductor_store::grouped::{Grouped, Limits};
use goconductor_store::{Store, WriteOutcome};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// What a state store took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Orders that were written at once.
    pub in_flight: u32,
    /// Transitions that were written.
    pub transitions: u64,
    /// In what time.
    pub seconds: f64,
    /// So many each second.
    pub transitions_per_second: f64,
    /// From handing one in to knowing that it is durable.
    pub latency: Percentiles,
    /// Processor time of this process for each 1,000 transitions: without the database's.
    pub cpu_seconds_per_1000: f64,
}

/// Has so many orders written, so many at once.
pub(crate) async fn measure(database: &Database, in_flight: u32, count: u64) -> anyhow::Result<Alone> {
    let (kind, database) = (database.kind(), database.clone());
    let orders = ready::orders(count)?;
    let transitions = whole(orders.iter().map(|order| order.writes.len()).sum());
    let (mut latencies, seconds, cpu) = apart(move || drive(database, orders, in_flight)).await?;
    Ok(Alone {
        database: kind,
        in_flight,
        transitions,
        seconds: rounded(seconds, 3),
        transitions_per_second: per_second(transitions, seconds),
        latency: latencies.percentiles(),
        cpu_seconds_per_1000: rounded(cpu * 1000.0 / crate::figures::float(transitions.max(1)), 3),
    })
}

/// Time of each write, of all, and of the processor.
async fn drive(
    database: Database,
    orders: Vec<Ready>,
    in_flight: u32,
) -> anyhow::Result<(Latencies, f64, f64)> {
    let limits = Limits { lanes: database.lanes(), ..Limits::default() };
    let store: Arc<dyn Store> = Arc::new(Grouped::new(database.open().await?, limits));
    let orders = Arc::new(Mutex::new(orders));
    let me = std::process::id();
    let (begun, cpu) = (Instant::now(), proc::cpu_seconds(me, false).unwrap_or(0.0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (store, orders) = (Arc::clone(&store), Arc::clone(&orders));
        lanes.spawn(async move {
            let mut took = Vec::new();
            loop {
                let next = orders.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(order) = next else { return anyhow::Ok(took) };
                for write in order.writes {
                    let begun = Instant::now();
                    let outcomes = store.write(vec![write]).await?;
                    anyhow::ensure!(
                        matches!(outcomes.as_slice(), [WriteOutcome::Written]),
                        "a transition was not written: {outcomes:?}"
                    );
                    took.push(begun.elapsed());
                }
            }
        });
    }
    let mut latencies = Latencies::default();
    while let Some(lane) = lanes.join_next().await {
        lane??.into_iter().for_each(|took| latencies.add(took));
    }
    let cpu = proc::cpu_seconds(me, false).unwrap_or(0.0) - cpu;
    Ok((latencies, begun.elapsed().as_secs_f64(), cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_transition_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(folder.path()).unwrap();
        let alone = measure(&database, 8, 20).await.unwrap();
        assert_eq!((alone.database, alone.transitions), ("sqlite", 80));
        assert!(alone.transitions_per_second > 0.0 && alone.latency.p50_ms > 0.0, "{alone:?}");
        let store = database.open().await.unwrap();
        let ids = store.ids(None, 100).await.unwrap();
        assert_eq!(ids.len(), 20);
        assert!(store.ledger(&ids).await.unwrap().is_empty());
    }
}
