//! The interface between the cases and the adapter under test.

use crate::{Queue, Topic};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of a case: `Ok`, or a description of the violation.
pub type CaseResult = Result<(), String>;

/// Creates queues of the adapter under test, and describes its properties.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// Creates an empty queue that shares nothing with earlier ones.
    ///
    /// # Errors
    /// Returns why the queue could not be created.
    async fn open(&self) -> Result<Arc<dyn Queue>, String>;

    /// Creates an empty queue whose topics hold at most `messages` messages. Returns `None` if the limit of the adapter
    /// cannot be configured.
    ///
    /// # Errors
    /// Returns why the queue could not be created.
    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String>;

    /// Returns whether the adapter knows that a topic has no consumer. One that does not always reports a consumer.
    fn knows_consumers(&self) -> bool {
        true
    }

    /// Returns whether the adapter is a log: each consumer reads its own partitions, acknowledges up to an offset, and a
    /// message that was delivered and not acknowledged is not distinguished from a waiting one.
    fn is_log(&self) -> bool {
        false
    }

    /// Returns whether a consumer receives more messages from the broker than its owner asks for. No other consumer
    /// receives these messages while it exists.
    fn prefetches(&self) -> bool {
        self.is_log()
    }

    /// Returns whether the backlog excludes messages that were delivered and not acknowledged.
    fn excludes_unacknowledged(&self) -> bool {
        !self.is_log()
    }

    /// Returns whether the adapter knows the publish time of the oldest waiting message. One that does not may report an
    /// earlier time.
    fn knows_oldest(&self) -> bool {
        true
    }

    /// Creates a queue whose server and consumers can be killed. Returns `None` if the adapter runs in this process
    /// only.
    ///
    /// # Errors
    /// Returns why the queue could not be created.
    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        Ok(None)
    }

    /// Returns the time after which a delivery counts as lost.
    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A queue whose server and consumers can be killed.
#[async_trait]
pub trait Breakable: fmt::Debug + Send + Sync {
    /// Returns the queue, which is empty at first.
    fn queue(&self) -> Arc<dyn Queue>;

    /// Kills the server with SIGKILL and restarts it with its data directory. Of several servers, kills one and restarts
    /// it after a while.
    ///
    /// # Errors
    /// Returns why the server did not restart.
    async fn crash(&self) -> CaseResult;

    /// Kills all servers, which stay away.
    ///
    /// # Errors
    /// Returns why a server could not be killed.
    async fn stop(&self) -> CaseResult;

    /// Starts a consumer in another process.
    ///
    /// # Errors
    /// Returns why the consumer could not be started.
    async fn remote_consumer(&self, topic: &Topic) -> Result<Box<dyn RemoteConsumer>, String>;
}

/// A consumer in another process.
#[async_trait]
pub trait RemoteConsumer: fmt::Debug + Send {
    /// Receives `count` messages and returns their numbers.
    ///
    /// # Errors
    /// Returns why the messages were not received.
    async fn receive(&mut self, count: usize) -> Result<Vec<u64>, String>;

    /// Acknowledges all received messages, and returns how many of them were lost to another consumer. Returns `None` if
    /// the outcome is unknown.
    ///
    /// # Errors
    /// Returns why the process did not respond.
    async fn acknowledge(&mut self) -> Result<Option<usize>, String>;

    /// Sends SIGSTOP.
    ///
    /// # Errors
    /// Returns an error if the process is not running.
    async fn pause(&mut self) -> CaseResult;

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// Returns an error if the process is not running.
    async fn resume(&mut self) -> CaseResult;

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// Returns an error if the process is not running.
    async fn kill(self: Box<Self>) -> CaseResult;
}
