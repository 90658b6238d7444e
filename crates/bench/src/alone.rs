//! The state store alone: transitions that were decided beforehand, written as fast as it takes them. Over
//! PostgreSQL it is a process of its own, and is driven over gRPC as an executor drives it; over SQLite it is
//! within this process, as it is within `goconductor dev`.

use crate::child::{Member, Start, beside, free_port};
use crate::database::Database;
use crate::figures::{Latencies, Percentiles, per_second, rounded, to_u64};
use crate::meter::Role;
use crate::proc;
use crate::ready::{self, Ready};
use crate::runtime::on_own_runtime;
use goconductor_remote::{Endpoints, ReadyGroup, RemoteStore};
use goconductor_store::grouped::{Grouped, Limits};
use goconductor_store::{Error, Store, Write, WriteOutcome};
use serde::Serialize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
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
    /// Processor time of the state store for each 1,000 transitions: without the database's.
    pub cpu_seconds_per_1000: f64,
}

/// A state store over a database.
#[derive(Debug)]
pub(crate) struct Server {
    database: Database,
    /// The process, and where it is called.
    process: Option<(Member, String)>,
}

impl Server {
    /// Starts it, with its files in a folder, and waits until it takes writes.
    pub(crate) async fn start(database: &Database, folder: &Path) -> anyhow::Result<Self> {
        let process = match database {
            Database::Sqlite(_) => None,
            Database::Postgres { url, .. } => {
                // Its tables, and room for what is to come.
                database.open().await?;
                let (port, file) = (free_port()?, folder.join("state-store.yaml"));
                std::fs::write(&file, format!("state_store: {{ backend: postgres, url: \"{url}\" }}\n"))?;
                let listen = format!("127.0.0.1:{port}");
                let arguments = ["--config", &file.display().to_string(), "--listen", &listen];
                let arguments = arguments.map(str::to_owned).to_vec();
                let name = "state-store";
                let start = Start { name, role: Role::Server, binary: beside(name)?, arguments, folder };
                let mut member = start.begin()?;
                member.ready(port).await?;
                Some((member, format!("http://{listen}")))
            }
        };
        Ok(Self { database: database.clone(), process })
    }

    /// Whose processor time counts.
    fn pid(&self) -> anyhow::Result<u32> {
        match &self.process {
            Some((member, _)) => Ok(member.target()?.pid),
            None => Ok(std::process::id()),
        }
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        match self.process {
            Some((member, _)) => member.end().await,
            None => Ok(()),
        }
    }
}

/// Where groups of writes go: to a state store in another process, or to a database.
trait Target: Clone + Send + Sync + 'static {
    /// A group, with all that can be done before it is written.
    type Group: Send;

    fn ready(group: Vec<Write>) -> Result<Self::Group, Error>;

    fn write(&self, group: Self::Group) -> impl Future<Output = Result<Vec<WriteOutcome>, Error>> + Send;
}

impl Target for RemoteStore {
    type Group = ReadyGroup;

    fn ready(group: Vec<Write>) -> Result<ReadyGroup, Error> {
        ReadyGroup::new(&group)
    }

    async fn write(&self, group: ReadyGroup) -> Result<Vec<WriteOutcome>, Error> {
        self.write_ready(group).await
    }
}

impl Target for Arc<Grouped> {
    type Group = Vec<Write>;

    fn ready(group: Vec<Write>) -> Result<Vec<Write>, Error> {
        Ok(group)
    }

    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        Store::write(&**self, group).await
    }
}

/// Has so many orders written, so many at once.
pub(crate) async fn measure(server: &Server, in_flight: u32, count: u64) -> anyhow::Result<Alone> {
    let (kind, database) = (server.database.kind(), server.database.clone());
    let (url, pid) = (server.process.as_ref().map(|(_, url)| url.clone()), server.pid()?);
    let orders = ready::orders(count)?;
    let transitions = to_u64(orders.iter().map(|order| order.writes.len()).sum());
    let driven = on_own_runtime(move || async move {
        match url {
            Some(url) => drive(RemoteStore::new(Endpoints::new(&[url])?), pid, orders, in_flight).await,
            None => {
                let limits = Limits { lanes: database.lanes(), ..Limits::default() };
                let store = Grouped::new(database.open().await?, limits);
                drive(Arc::new(store), pid, orders, in_flight).await
            }
        }
    });
    let (mut latencies, seconds, cpu) = driven.await?;
    Ok(Alone {
        database: kind,
        in_flight,
        transitions,
        seconds: rounded(seconds, 3),
        transitions_per_second: per_second(transitions, seconds),
        latency: latencies.percentiles(),
        cpu_seconds_per_1000: rounded(cpu * 1000.0 / crate::figures::to_f64(transitions.max(1)), 3),
    })
}

/// Orders that are written together: the first transitions of all, the second of all, and so on, with how many
/// those are.
type Batch<G> = Vec<(usize, G)>;

/// Puts orders together, so many at a time.
fn batches<T: Target>(orders: Vec<Ready>, together: usize) -> anyhow::Result<Vec<Batch<T::Group>>> {
    let mut writes = orders.into_iter().map(|order| order.writes.into_iter()).peekable();
    let mut batches = Vec::new();
    while writes.peek().is_some() {
        let mut batch: Vec<_> = writes.by_ref().take(together).collect();
        let next = || {
            let group: Vec<Write> = batch.iter_mut().filter_map(Iterator::next).collect();
            (!group.is_empty()).then_some(group)
        };
        let groups = std::iter::from_fn(next).map(|group| Ok((group.len(), T::ready(group)?)));
        batches.push(groups.collect::<Result<_, Error>>()?);
    }
    Ok(batches)
}

/// Time of each write, of all, and of the processor.
async fn drive<T: Target>(
    target: T,
    pid: u32,
    orders: Vec<Ready>,
    in_flight: u32,
) -> anyhow::Result<(Latencies, f64, f64)> {
    // What is at once comes in as many calls as an executor makes at once, and waits for nothing to be put
    // together, nor for a message to be made of it: it is the store that is measured.
    let calls = Limits::CALLS.lanes.min(usize::try_from(in_flight)?);
    let batches = batches::<T>(orders, usize::try_from(in_flight)? / calls)?;
    let batches = Arc::new(Mutex::new(batches));
    let (begun, cpu) = (Instant::now(), proc::cpu_seconds(pid, false).unwrap_or(0.0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..calls {
        lanes.spawn(lane(target.clone(), Arc::clone(&batches)));
    }
    let mut latencies = Latencies::default();
    while let Some(lane) = lanes.join_next().await {
        lane??.into_iter().for_each(|took| latencies.add(took));
    }
    let cpu = proc::cpu_seconds(pid, false).unwrap_or(0.0) - cpu;
    Ok((latencies, begun.elapsed().as_secs_f64(), cpu))
}

/// Writes one batch after the other, group by group, until none is left; how long each transition took.
async fn lane<T: Target>(
    target: T,
    batches: Arc<Mutex<Vec<Batch<T::Group>>>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    loop {
        let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(batch) = batch else { return Ok(took) };
        for (count, group) in batch {
            let begun = Instant::now();
            let outcomes = target.write(group).await?;
            let written = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Written);
            anyhow::ensure!(
                outcomes.len() == count && outcomes.iter().all(written),
                "a transition was not written: {outcomes:?}"
            );
            took.extend(std::iter::repeat_n(begun.elapsed(), count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_transition_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(folder.path()).unwrap();
        let server = Server::start(&database, folder.path()).await.unwrap();
        let alone = measure(&server, 8, 20).await.unwrap();
        server.end().await.unwrap();
        assert_eq!((alone.database, alone.transitions), ("sqlite", 80));
        assert!(alone.transitions_per_second > 0.0 && alone.latency.p50_ms > 0.0, "{alone:?}");
        let store = database.open().await.unwrap();
        let ids = store.ids(None, 100).await.unwrap();
        assert_eq!(ids.len(), 20);
        assert!(store.ledger(&ids).await.unwrap().is_empty());
    }
}
