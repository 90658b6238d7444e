//! The writer: a thread that owns its connection and commits queued jobs in one transaction.

use super::file::FileGuard;
use crate::Error;
use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Name of the thread.
const THREAD: &str = "sqlite-writer";
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
    pub(super) fn start(connection: Connection, guard: Option<FileGuard>) -> Result<Self, Error> {
        let (jobs, queue) = sync_channel(QUEUE_DEPTH);
        let thread = goconductor_supervisor::thread(THREAD, move || write_all(connection, guard, &queue))
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

fn write_all(mut connection: Connection, mut guard: Option<FileGuard>, queue: &Receiver<Box<dyn Job>>) {
    let mut lost = None;
    while let Ok(first) = queue.recv() {
        goconductor_supervisor::checkpoint(THREAD);
        let mut batch = vec![first];
        while batch.len() < BATCH_SIZE
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let committed = match &lost {
            None => write_guarded(&mut connection, &mut guard, &mut batch, &mut lost),
            Some(reason) => Err(Error::unavailable(String::clone(reason))),
        };
        for job in batch {
            job.finish(committed.clone());
        }
    }
    if lost.is_some() {
        // SQLite would write to the files that took the place of its own, or remove them. The process ends anyway.
        std::mem::forget((connection, guard));
        return;
    }
    // Merges the write-ahead log into the database file. If this fails, the next start does it.
    if let Err(error) = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
        tracing::debug!(%error, "the write-ahead log was not merged; the next start merges it");
    }
    drop(connection);
    // After the connection: closing a file of the database releases the locks of all its connections.
    drop(guard);
}

/// Writes a batch to the files that were opened. Sets `lost` to the reason if they are no longer in place.
fn write_guarded(
    connection: &mut Connection,
    guard: &mut Option<FileGuard>,
    batch: &mut [Box<dyn Job>],
    lost: &mut Option<String>,
) -> Result<(), Error> {
    let Some(guard) = guard else { return write_batch(connection, batch) };
    if let Err(reason) = guard.check() {
        return Err(Error::unavailable(report_loss(reason, lost)));
    }
    let written = write_batch(connection, batch);
    // Before the acknowledgement: a commit to a file that has been removed is not durable.
    guard.check().map_err(|reason| Error::outcome_unknown(report_loss(reason, lost)))?;
    written
}

/// Reports the loss of the files as a failure of the process.
fn report_loss(reason: String, lost: &mut Option<String>) -> String {
    goconductor_supervisor::fail(THREAD, reason.clone());
    lost.insert(reason).clone()
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
