//! The connection pool for batches of writes. It has one connection for each concurrent batch.
//!
//! The driver's pool tests a connection before and after each use. For a batch, these are twice as many round trips as
//! the batch itself, and each wakes a process on both sides. This pool tests a connection only if it was idle. It drops
//! a connection whose write failed: the outcome of the write is unknown, and the caller determines it.

use super::{ACQUIRE_TIMEOUT, MAX_IDLE, unavailable};
use crate::Error;
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant, timeout};

/// A connection is closed at this age, so that the server frees the memory that it has accumulated for it.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Raises the limit up to which the server's allocator keeps freed memory.
///
/// A batch needs some MiB on the server. Its allocator would return them after each batch and map them again, page by
/// page, for the next one, which takes a tenth of the batch's time. glibc keeps twice the size of the largest block
/// that was ever freed.
const RAISE_TRIM_THRESHOLD: &str = "SELECT octet_length(repeat(' ', 8 << 20))";

/// The connection pool. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct WriteConnections {
    options: Arc<PgConnectOptions>,
    permits: Arc<Semaphore>,
    /// The idle connections. The one that was used last is reused first.
    idle: Arc<Mutex<Vec<WriteConnection>>>,
}

/// A connection for batches.
#[derive(Debug)]
pub(super) struct WriteConnection {
    pub(super) connection: PgConnection,
    connected: Instant,
    used: Instant,
}

impl WriteConnections {
    /// Creates a pool of at most `count` connections. The connections are opened on demand.
    pub(super) fn new(options: PgConnectOptions, count: usize) -> Self {
        let (options, permits) = (Arc::new(options), Arc::new(Semaphore::new(count)));
        Self { options, permits, idle: Arc::default() }
    }

    /// Acquires a usable connection and its permit.
    pub(super) async fn acquire(&self) -> Result<(WriteConnection, OwnedSemaphorePermit), Error> {
        let timed_out = || Error::unavailable("timed out waiting for a connection");
        let acquired = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let permit = permit.map_err(|error| Error::unavailable(error.to_string()).caused_by(error))?;
            while let Some(mut writer) = self.pop_idle() {
                if writer.used.elapsed() < MAX_IDLE || writer.connection.ping().await.is_ok() {
                    return Ok((writer, permit));
                }
            }
            let (connection, now) = (self.connect().await?, Instant::now());
            Ok((WriteConnection { connection, connected: now, used: now }, permit))
        };
        timeout(ACQUIRE_TIMEOUT, acquired).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Returns a connection to the pool after a successful write.
    pub(super) fn release(&self, writer: WriteConnection) {
        let used = Instant::now();
        if used.duration_since(writer.connected) < MAX_LIFETIME {
            self.idle.lock().push(WriteConnection { used, ..writer });
        }
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(unavailable)?;
        sqlx::raw_sql(RAISE_TRIM_THRESHOLD).execute(&mut connection).await.map_err(unavailable)?;
        Ok(connection)
    }

    fn pop_idle(&self) -> Option<WriteConnection> {
        self.idle.lock().pop()
    }
}
