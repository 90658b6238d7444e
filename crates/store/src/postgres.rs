//! The store on PostgreSQL 14 and later.
//!
//! A batch of any size is a handful of statements: one for each kind of row, over arrays. All statements lock rows in
//! the same order, so concurrent batches cannot deadlock.

mod access_keys;
mod audit;
mod batch;
mod cluster;
mod dead_letters;
mod definitions;
mod filter;
mod integrity;
mod leases;
mod ledger;
mod listings;
mod locks;
mod maintenance;
mod migrations;
mod payloads;
mod read;
mod removal;
mod row_encoding;
mod rows;
mod schedules;
mod secrets;
mod sqlstate;
mod statistics;
mod workflow_batches;
mod workflow_locks;
mod workflows;
mod writers;

use crate::batching::Limits;
use crate::schema::verified;
use crate::{AppliedMigration, Error, Migration, SchemaPolicy, SchemaStatus};
use sqlstate::is_conflict;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;
use writers::WriteConnections;

/// Maximum number of attempts of a transaction that the server aborts to resolve a conflict.
const MAX_CONFLICT_RETRIES: u32 = 5;
/// Settings that make the server look rows up by index, and that disable JIT compilation.
///
/// A cached plan depends on the statistics of the time when it was made, when a table may have been nearly empty. A plan
/// for one row must therefore also be good for a hundred thousand rows. With `enable_seqscan` off, the server scans a
/// whole table only if nothing else is possible. A join by `id = ANY (ARRAY[other.id])` instead of `id = other.id`
/// leaves index lookups as the only plan: a merge join or a hash join would read the table or its index from end to
/// end, and the server prefers them for one row.
///
/// A disabled scan has such a high estimated cost that the server would compile the statement each time. Compilation
/// takes most of a second.
const INDEX_LOOKUPS: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];
/// The statement of a batch has one plan for every batch size. Planning it each time would take longer than executing
/// it.
const GENERIC_PLAN: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];
/// The time on the database's clock, in microseconds.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// A connection that was idle for longer than this is tested before its use.
const MAX_IDLE: Duration = Duration::from_secs(1);
/// Timeout for acquiring a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the connections of a store that only reads, so that it cannot write by mistake.
const READ_ONLY: &[(&str, &str)] = &[("default_transaction_read_only", "on")];

/// A store in a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    /// Connections for batches of writes. They are separate so that a batch never waits for a reader.
    writers: WriteConnections,
}

impl PostgresStore {
    /// Connects to the database and applies pending migrations.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the URL or the database's encoding is unusable, `Error::Unavailable` if the
    /// database cannot be reached and `Error::Schema` if the schema is of a newer release.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, Error> {
        Self::connect_with(url, max_connections, SchemaPolicy::Migrate).await
    }

    /// Like [`connect`](Self::connect), with a policy for a database whose schema is older.
    ///
    /// # Errors
    /// Returns the errors of [`connect`](Self::connect), and `Error::Unavailable` if the policy does not allow a migration
    /// that is pending.
    pub async fn connect_with(url: &str, max_connections: u32, policy: SchemaPolicy) -> Result<Self, Error> {
        let store = Self::open(url, max_connections, &[]).await?;
        match policy {
            SchemaPolicy::Migrate => drop(migrations::run(&mut *store.connection().await?, None).await?),
            SchemaPolicy::Verify => verified(&migrations::status(&mut *store.connection().await?).await?)?,
        }
        maintenance::create_first_partitions(&store).await?;
        Ok(store)
    }

    /// Connects to the database for reads only. Changes nothing, and applies no migration.
    ///
    /// # Errors
    /// Returns the errors of [`connect`](Self::connect), and `Error::Schema` if the schema is of an older release or if
    /// there is none.
    pub async fn connect_reading(url: &str, max_connections: u32) -> Result<Self, Error> {
        let (store, status, _) = Self::connect_any(url, max_connections).await?;
        status.check()?;
        Ok(store)
    }

    /// Connects to a database of any schema for reads only. Also returns its schema, and the migrations that
    /// it has recorded.
    ///
    /// # Errors
    /// Returns the errors of [`connect_reading`](Self::connect_reading), except `Error::Schema`.
    pub async fn connect_any(
        url: &str,
        max_connections: u32,
    ) -> Result<(Self, SchemaStatus, Vec<AppliedMigration>), Error> {
        let store = Self::open(url, max_connections, READ_ONLY).await?;
        let mut connection = store.connection().await?;
        let status = migrations::status(&mut connection).await?;
        let applied = migrations::applied(&mut connection).await?;
        drop(connection);
        Ok((store, status, applied))
    }

    /// Applies pending migrations up to version `to`, or all, and returns them. With `finish`, also ends the support of
    /// earlier releases.
    ///
    /// # Errors
    /// Returns the errors of [`connect`](Self::connect).
    pub async fn migrate(url: &str, to: Option<i64>, finish: bool) -> Result<Vec<Migration>, Error> {
        let store = Self::open(url, 1, &[]).await?;
        let applied = migrations::run(&mut *store.connection().await?, to).await?;
        if finish {
            migrations::finish(&mut *store.connection().await?).await?;
        }
        Ok(applied)
    }

    async fn open(url: &str, max_connections: u32, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::configuration(error.to_string()).caused_by(error))?
            .application_name("goconductor")
            // Overrides the server's default: a write that was reported as successful must be durable.
            .options([("synchronous_commit", "on")])
            .options(settings.iter().copied())
            .options(INDEX_LOOKUPS);
        let batches = Limits::POSTGRES.max_concurrent_batches;
        let writers = WriteConnections::new(options.clone().options(GENERIC_PLAN), batches);
        let readers = max_connections.saturating_sub(u32::try_from(batches).unwrap_or(u32::MAX));
        let pool = PgPoolOptions::new()
            .max_connections(readers.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A test costs a round trip, as much as a read.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < MAX_IDLE || connection.ping().await.is_ok()) })
            });
        let pool = pool.connect_with(options).await.map_err(unavailable)?;
        Ok(Self { pool, writers })
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await.map_err(unavailable)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        self.pool.begin().await.map_err(unavailable)
    }
}

/// Maps an error that occurred before the commit: nothing was written.
fn unavailable(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    let reason = code.map_or_else(|| error.to_string(), |code| format!("{error} ({code})"));
    Error::unavailable(reason).caused_by(error)
}

/// Maps an error of a statement that is its own transaction. If the server refused the statement, nothing was written.
/// If the connection broke, the response may have been lost.
fn uncertain(error: sqlx::Error) -> Error {
    if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_)) {
        return Error::outcome_unknown(error.to_string()).caused_by(error);
    }
    unavailable(error)
}

async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Error> {
    // The commit may have succeeded and its response have been lost. Only a read can tell.
    transaction.commit().await.map_err(|error| Error::outcome_unknown(error.to_string()).caused_by(error))
}

/// Evaluates an attempt of a transaction, and retries it if the server aborted it to resolve a conflict.
macro_rules! retry_conflicts {
    ($attempt:expr) => {{
        let mut attempts = 1;
        loop {
            match $attempt {
                Err(error)
                    if $crate::postgres::is_conflict(&error)
                        && attempts < $crate::postgres::MAX_CONFLICT_RETRIES =>
                {
                    attempts += 1;
                }
                result => break result,
            }
        }
    }};
}

use retry_conflicts;
