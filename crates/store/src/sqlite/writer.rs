//! The writer: a thread that owns its connection and commits queued jobs in one transaction.

use crate::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Maximum number of jobs in one transaction.
const BATCH_SIZE: usize = 64;
/// Maximum number of queued jobs. Further callers wait until there is room.
const QUEUE_DEPTH: usize = 1024;
/// Pause before a job is offered again to a full queue.
const QUEUE_RETRY: Duration = Duration::from_millis(1);

/// Work to be done within a transaction.
trait Job: Send {
    fn run(&mut self, connection: &Connection) -> Result<(), Error>;
    fn finish(self: Box<Self>, committed: Result<(), Error>);
}

struct TransactionJob<T, F> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T, Error> + Send> Job for TransactionJob<T, F> {
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
            (None, Ok(())) => Err(Error::unavailable("the job was not run")),
        };
        // Fails if the caller was cancelled.
        drop(self.reply.send(result));
    }
}

/// Handle of the writer thread.
#[derive(Debug)]
pub(super) struct WriterThread {
    jobs: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub(super) fn start(connection: Connection) -> Result<Self, Error> {
        let (jobs, queue) = sync_channel(QUEUE_DEPTH);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_all(connection, &queue))
            .map_err(|error| Error::unavailable(error.to_string()).caused_by(error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job in the next transaction. Returns its result after the transaction is durable.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, response) = oneshot::channel();
        let mut job: Box<dyn Job> = Box::new(TransactionJob { work: Some(work), result: None, reply });
        let jobs = self.jobs.as_ref().ok_or_else(writer_closed)?;
        loop {
            match jobs.try_send(job) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(QUEUE_RETRY).await;
                }
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(writer_closed()),
            }
        }
        let lost = Error::outcome_unknown("the writer thread ended before it responded");
        response.await.unwrap_or(Err(lost))
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        // The thread ends after the queued jobs, once the sender is dropped.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the SQLite writer thread panicked");
        }
    }
}

fn write_all(mut connection: Connection, queue: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_SIZE
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let committed = write_batch(&mut connection, &mut batch);
        for job in batch {
            job.finish(committed.clone());
        }
    }
    // Merges the write-ahead log into the database file. If this fails, the next start does it.
    if let Err(error) = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
        tracing::debug!(%error, "the write-ahead log was not merged; the next start merges it");
    }
}

fn writer_closed() -> Error {
    Error::unavailable("the writer thread has ended")
}

fn write_batch(connection: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        // A job that fails is rolled back alone.
        transaction.execute_batch("SAVEPOINT job")?;
        let end = if job.run(&transaction).is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        transaction.execute_batch(end)?;
    }
    transaction.commit().map_err(|error| Error::outcome_unknown(error.to_string()).caused_by(error))
}
