//! Connections that groups are written by: as many as groups are written at once.
//!
//! The driver's pool looks at a connection before and after each use. For a group that is twice as many ways to the
//! server and back as the group itself takes, each with a process to be woken on both sides; so it is looked at
//! here only when it has lain idle. One whose write was not done is let go: what became of it is not known, and its
//! caller finds that out.

use super::{ACQUIRE, UNUSED, unavailable};
use crate::Error;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// A connection is let go at this age, with what the server has gathered for it.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A group takes the server some MiB, which its allocator would give back after each and be given anew, page by page,
/// for the next: that is a tenth of its time. What glibc keeps is twice the largest piece that was ever freed.
const KEEP: &str = "SELECT octet_length(repeat(' ', 8 << 20))";

/// Connections that groups are written by. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Writers {
    options: Arc<PgConnectOptions>,
    places: Arc<Semaphore>,
    /// Those that nobody uses; the one that was used last is used first.
    idle: Arc<Mutex<Vec<Writer>>>,
}

/// A connection, and what is known of it.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: PgConnection,
    since: Instant,
    used: Instant,
}

impl Writers {
    /// So many at most; nothing is connected yet.
    pub(super) fn new(options: PgConnectOptions, count: usize) -> Self {
        let (options, places) = (Arc::new(options), Arc::new(Semaphore::new(count)));
        Self { options, places, idle: Arc::default() }
    }

    /// A connection that is well, as far as can be known, with its place.
    pub(super) async fn take(&self) -> Result<(Writer, OwnedSemaphorePermit), Error> {
        let late = || Error::unavailable("timed out waiting for a connection");
        let taken = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(|error| Error::unavailable(error.to_string()).caused_by(error))?;
            while let Some(mut writer) = self.unused() {
                if writer.used.elapsed() < UNUSED || writer.connection.ping().await.is_ok() {
                    return Ok((writer, place));
                }
            }
            let (connection, now) = (self.connect().await?, Instant::now());
            Ok((Writer { connection, since: now, used: now }, place))
        };
        timeout(ACQUIRE, taken).await.unwrap_or_else(|_| Err(late()))
    }

    /// Takes back one that has done what it was to do.
    pub(super) fn give_back(&self, writer: Writer) {
        let used = Instant::now();
        if used.duration_since(writer.since) < LIFETIME {
            self.idle().push(Writer { used, ..writer });
        }
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(unavailable)?;
        sqlx::raw_sql(KEEP).execute(&mut connection).await.map_err(unavailable)?;
        Ok(connection)
    }

    fn unused(&self) -> Option<Writer> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Writer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
