//! The store on PostgreSQL 13 and later.
//!
//! A group of any size is a handful of statements: one for each kind of row, over arrays. Rows are
//! locked in one order everywhere, so that groups never wait for one another in a circle.

mod cluster;
mod dead_letters;
mod definitions;
mod group;
mod leases;
mod ledger;
mod listings;
mod locks;
mod maintenance;
mod migrations;
mod read;
mod rows;
mod sqlstate;
mod workflows;
mod writers;
mod written;

use crate::Error;
use crate::grouped::Limits;
use sqlstate::is_conflict;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;
use writers::Writers;

/// A transaction that the database ended to resolve a conflict is tried again this often.
const TRIES: u32 = 5;
/// Rows are looked up, never read as a whole, and no statement is compiled.
///
/// A plan is made by what the server last counted, when a table may have been as good as empty, and is kept. So what
/// is good for a table of one row must be good for a hundred thousand, too: without `enable_seqscan` a table is gone
/// through only where nothing else is possible, and a join by `id = ANY (ARRAY[other.id])` in the place of
/// `id = other.id` can't be done but by looking each row up. A merge or a hash join reads the table or its index from
/// end to end, and the server prefers that for one row.
///
/// What has to be avoided counts as so costly that the server would compile the statement, which takes it most of a
/// second, each time.
const LOOKED_UP: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];
/// A group's one statement has one plan, whatever its size: to plan it each time would cost more than to carry it out.
const ONE_PLAN: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];
/// The database's clock, in microseconds.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// A connection that was not used for so long may be gone.
const UNUSED: Duration = Duration::from_secs(1);
/// A connection that can't be had for this long is no connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// A store in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// Connections that groups are written by: none waits for a reader's.
    writers: Writers,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date.
    ///
    /// # Errors
    /// When the address is wrong, the database does not answer, or is of a newer release.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::configuration(error.to_string()).caused_by(error))?
            .application_name("goconductor")
            // Durable whatever the server's default is: what was answered is on disk.
            .options([("synchronous_commit", "on")])
            .options(LOOKED_UP);
        let lanes = Limits::POSTGRES.lanes;
        let writers = Writers::new(options.clone().options(ONE_PLAN), lanes);
        let readers = max_connections.saturating_sub(u32::try_from(lanes).unwrap_or(u32::MAX));
        let pool = PgPoolOptions::new()
            .max_connections(readers.max(1))
            .acquire_timeout(ACQUIRE)
            // A look is a way to the server and back, as a read is.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < UNUSED || connection.ping().await.is_ok()) })
            });
        let pool = pool.connect_with(options).await.map_err(unavailable)?;
        let store = Self { pool, writers };
        migrations::run(&mut *store.connection().await?).await?;
        maintenance::make_first_room(&store).await?;
        Ok(store)
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await.map_err(unavailable)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        self.pool.begin().await.map_err(unavailable)
    }
}

/// What a driver's error means before the commit: certainly nothing was done.
fn unavailable(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    let reason = code.map_or_else(|| error.to_string(), |code| format!("{error} ({code})"));
    Error::unavailable(reason).caused_by(error)
}

/// What a driver's error means of a statement that is its own transaction: what the database itself
/// refused was not done, but a connection that broke may have taken the answer with it.
fn uncertain(error: sqlx::Error) -> Error {
    if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_)) {
        return Error::outcome_unknown(error.to_string()).caused_by(error);
    }
    unavailable(error)
}

async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Error> {
    // The answer may be what was lost: only a read can tell.
    transaction.commit().await.map_err(|error| Error::outcome_unknown(error.to_string()).caused_by(error))
}

/// The value of a transaction's attempt, tried again if the database ended it to resolve a conflict.
macro_rules! retry_conflicts {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt {
                Err(error) if $crate::postgres::is_conflict(&error) && tries < $crate::postgres::TRIES => {
                    tries += 1
                }
                ended => break ended,
            }
        }
    }};
}

use retry_conflicts;
