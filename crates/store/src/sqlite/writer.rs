//! The one writer: a thread that owns its connection and commits together what waits together.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Jobs in one database transaction at most.
const GROUP: usize = 64;
/// Jobs that may wait; the next waits for a place.
const WAITING: usize = 1024;

/// Something to be done within a transaction.
trait Job: Send {
    fn run(&mut self, connection: &Connection) -> Result<(), Error>;
    fn finish(self: Box<Self>, committed: Result<(), Error>);
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Error> + Send> Job for Task<T, F> {
    fn run(&mut self, connection: &Connection) -> Result<(), Error> {
        let Some(work) = self.work.take() else { return Ok(()) };
        match work(connection) {
            Ok(value) => {
                self.result = Some(Ok(value));
                Ok(())
            }
            Err(error) => {
                self.result = Some(Err(error));
                Err(Error::unavailable("rolled back"))
            }
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(Error::unavailable("the job did not run")),
        };
        // A caller who went away does not want to know.
        drop(self.answer.send(result));
    }
}

/// The way to the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, Error> {
        let (jobs, waiting) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_all(connection, &waiting))
            .map_err(|error| Error::unavailable(error.to_string()).caused_by(error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job in the next transaction; answers once that is durable.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let mut job: Box<dyn Job> = Box::new(Task { work: Some(work), result: None, answer });
        let jobs = self.jobs.as_ref().ok_or_else(writer_closed)?;
        loop {
            match jobs.try_send(job) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(writer_closed()),
            }
        }
        let lost = Error::outcome_unknown("the writer thread ended before it responded");
        answered.await.unwrap_or(Err(lost))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread ends once nobody can send it anything, after what it has.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the database has panicked");
        }
    }
}

fn write_all(mut connection: Connection, waiting: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let committed = write_group(&mut connection, &mut group);
        for job in group {
            job.finish(committed.clone());
        }
    }
    // Leaves one file behind where nothing is wrong; if this fails the next start does it.
    if let Err(error) = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
        tracing::debug!(%error, "the log is folded in at the next start");
    }
}

fn writer_closed() -> Error {
    Error::unavailable("the writer thread has ended")
}

fn write_group(connection: &mut Connection, group: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in group {
        // A job that fails takes back what it did, and nothing of the others.
        transaction.execute_batch("SAVEPOINT job")?;
        let end = if job.run(&transaction).is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        transaction.execute_batch(end)?;
    }
    transaction.commit().map_err(|error| Error::outcome_unknown(error.to_string()).caused_by(error))
}
