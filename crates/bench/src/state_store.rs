//! The state store alone, which writes transitions that were decided beforehand. With PostgreSQL it is a separate process
//! and is called over gRPC, as an executor does. With SQLite it runs in this process, as in `goconductor dev`.

use crate::child_process::{ChildCommand, ChildProcess, free_port, sibling_binary};
use crate::database::Database;
use crate::figures::{Latencies, Percentiles, per_second, rounded, to_u64};
use crate::meter::Role;
use crate::prepared::{self, PreparedOrder};
use crate::proc;
use crate::runtime::on_own_runtime;
use goconductor_client::Client;
use goconductor_remote::{Endpoints, ReadyBatch, RemoteStore};
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::{Error, WorkflowStore, Write, WriteOutcome};
use parking_lot::Mutex;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The throughput of a state store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateStoreRow {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Orders in flight.
    pub in_flight: u32,
    /// Written transitions.
    pub transitions: u64,
    /// The duration in seconds.
    pub seconds: f64,
    /// Written transitions per second.
    pub transitions_per_second: f64,
    /// The time from the request of a write to its acknowledgement.
    pub latency: Percentiles,
    /// The CPU time of the state store per 1,000 transitions, without the database.
    pub cpu_seconds_per_1000: f64,
}

/// A state store with its database.
#[derive(Debug)]
pub(crate) struct MeasuredStore {
    database: Database,
    /// The process and its URL, unless the store runs in this process.
    process: Option<(ChildProcess, String)>,
}

impl MeasuredStore {
    /// Starts the state store with a directory for its files, and waits until it is ready.
    pub(crate) async fn start(database: &Database, folder: &Path) -> anyhow::Result<Self> {
        let process = match database {
            Database::Sqlite(_) => None,
            Database::Postgres { url, .. } => {
                // Creates the tables and the partitions.
                database.open().await?;
                let (port, file) = (free_port()?, folder.join("state-store.yaml"));
                std::fs::write(&file, format!("state_store: {{ backend: postgres, url: \"{url}\" }}\n"))?;
                let listen = format!("127.0.0.1:{port}");
                let arguments = ["--config", &file.display().to_string(), "--listen", &listen];
                let arguments = arguments.map(str::to_owned).to_vec();
                let name = "state-store";
                let start = ChildCommand {
                    name,
                    role: Role::Server,
                    binary: sibling_binary(name)?,
                    arguments,
                    folder,
                };
                let mut process = start.spawn()?;
                let url = format!("http://{listen}");
                process.wait_until_ready(&Client::new(&url, "default")?).await?;
                Some((process, url))
            }
        };
        Ok(Self { database: database.clone(), process })
    }

    /// Returns the process whose CPU time is measured.
    fn pid(&self) -> anyhow::Result<u32> {
        match &self.process {
            Some((process, _)) => Ok(process.target()?.pid),
            None => Ok(std::process::id()),
        }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.process {
            Some((process, _)) => process.stop().await,
            None => Ok(()),
        }
    }
}

/// The receiver of batches: a state store in another process, or a store in this one.
trait WriteTarget: Clone + Send + Sync + 'static {
    /// A batch that is encoded as far as possible before the measurement.
    type Batch: Send;

    fn prepare(batch: Vec<Write>) -> Result<Self::Batch, Error>;

    fn write(&self, batch: Self::Batch) -> impl Future<Output = Result<Vec<WriteOutcome>, Error>> + Send;
}

impl WriteTarget for RemoteStore {
    type Batch = ReadyBatch;

    fn prepare(batch: Vec<Write>) -> Result<ReadyBatch, Error> {
        ReadyBatch::new(&batch)
    }

    async fn write(&self, batch: ReadyBatch) -> Result<Vec<WriteOutcome>, Error> {
        self.write_ready(batch).await
    }
}

impl WriteTarget for Arc<BatchingStore> {
    type Batch = Vec<Write>;

    fn prepare(batch: Vec<Write>) -> Result<Vec<Write>, Error> {
        Ok(batch)
    }

    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        WorkflowStore::write(&**self, batch).await
    }
}

/// Writes `count` orders with `in_flight` of them at a time.
pub(crate) async fn measure(
    server: &MeasuredStore,
    in_flight: u32,
    count: u64,
) -> anyhow::Result<StateStoreRow> {
    let (kind, database) = (server.database.kind(), server.database.clone());
    let (url, pid) = (server.process.as_ref().map(|(_, url)| url.clone()), server.pid()?);
    let orders = prepared::orders(count)?;
    let transitions = to_u64(orders.iter().map(|order| order.writes.len()).sum());
    let driven = on_own_runtime(move || async move {
        match url {
            Some(url) => drive(RemoteStore::new(Endpoints::new(&[url])?), pid, orders, in_flight).await,
            None => {
                let limits =
                    Limits { max_concurrent_batches: database.max_concurrent_batches(), ..Limits::default() };
                let store = BatchingStore::new(database.open().await?, limits);
                drive(Arc::new(store), pid, orders, in_flight).await
            }
        }
    });
    let (mut latencies, seconds, cpu) = driven.await?;
    Ok(StateStoreRow {
        database: kind,
        in_flight,
        transitions,
        seconds: rounded(seconds, 3),
        transitions_per_second: per_second(transitions, seconds),
        latency: latencies.percentiles(),
        cpu_seconds_per_1000: rounded(cpu * 1000.0 / crate::figures::to_f64(transitions.max(1)), 3),
    })
}

/// The batches of orders that are written together: the first transitions of all, the second transitions of all, and so on,
/// each with its number of transitions.
type BatchSequence<B> = Vec<(usize, B)>;

/// Combines orders into sequences of batches, `together` orders at a time.
fn batches<T: WriteTarget>(
    orders: Vec<PreparedOrder>,
    together: usize,
) -> anyhow::Result<Vec<BatchSequence<T::Batch>>> {
    let mut writes = orders.into_iter().map(|order| order.writes.into_iter()).peekable();
    let mut batches = Vec::new();
    while writes.peek().is_some() {
        let mut batch: Vec<_> = writes.by_ref().take(together).collect();
        let next = || {
            let batch: Vec<Write> = batch.iter_mut().filter_map(Iterator::next).collect();
            (!batch.is_empty()).then_some(batch)
        };
        let groups = std::iter::from_fn(next).map(|batch| Ok((batch.len(), T::prepare(batch)?)));
        batches.push(groups.collect::<Result<_, Error>>()?);
    }
    Ok(batches)
}

/// Writes all orders. Returns the latencies, the elapsed seconds and the CPU seconds of the state store.
async fn drive<T: WriteTarget>(
    target: T,
    pid: u32,
    orders: Vec<PreparedOrder>,
    in_flight: u32,
) -> anyhow::Result<(Latencies, f64, f64)> {
    // The orders in flight use as many concurrent calls as an executor makes. Batching and encoding happen before, so only
    // the store is measured.
    let calls = Limits::CALLS.max_concurrent_batches.min(usize::try_from(in_flight)?);
    let batches = batches::<T>(orders, usize::try_from(in_flight)? / calls)?;
    let batches = Arc::new(Mutex::new(batches));
    let (started, cpu) = (Instant::now(), proc::cpu_seconds(pid, false).unwrap_or(0.0));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..calls {
        writers.spawn(write_batches(target.clone(), Arc::clone(&batches)));
    }
    let mut latencies = Latencies::default();
    while let Some(writer) = writers.join_next().await {
        writer??.into_iter().for_each(|took| latencies.add(took));
    }
    let cpu = proc::cpu_seconds(pid, false).unwrap_or(0.0) - cpu;
    Ok((latencies, started.elapsed().as_secs_f64(), cpu))
}

/// Writes sequences of batches until none is left. Returns the latency of each transition.
async fn write_batches<T: WriteTarget>(
    target: T,
    batches: Arc<Mutex<Vec<BatchSequence<T::Batch>>>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    loop {
        let batch = batches.lock().pop();
        let Some(batch) = batch else { return Ok(took) };
        for (count, batch) in batch {
            let started = Instant::now();
            let outcomes = target.write(batch).await?;
            let written = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Written);
            anyhow::ensure!(
                outcomes.len() == count && outcomes.iter().all(written),
                "the store did not write all transitions: {outcomes:?}"
            );
            took.extend(std::iter::repeat_n(started.elapsed(), count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn state_store_writes_every_transition() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(folder.path()).unwrap();
        let server = MeasuredStore::start(&database, folder.path()).await.unwrap();
        let alone = measure(&server, 8, 20).await.unwrap();
        server.stop().await.unwrap();
        assert_eq!((alone.database, alone.transitions), ("sqlite", 80));
        assert!(alone.transitions_per_second > 0.0 && alone.latency.p50_ms > 0.0, "{alone:?}");
        let store = database.open().await.unwrap();
        let ids = store.ids(None, 100).await.unwrap();
        assert_eq!(ids.len(), 20);
        assert!(store.ledger(&ids).await.unwrap().is_empty());
    }
}
