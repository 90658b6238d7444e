//! The store on PostgreSQL 13 and later.
//!
//! A group of any size is a handful of statements: one for each kind of row, over arrays. Rows are
//! locked in one order everywhere, so that groups never wait for one another in a circle.

mod agreements;
mod definitions;
mod group;
mod leases;
mod ledger;
mod listings;
mod locks;
mod migrations;
mod processes;
mod read;
mod rows;
mod upkeep;
mod writers;
mod written;

use crate::grouped::Limits;
use crate::{
    Announcement, Claim, ClaimRequest, Count, DeadLetter, DeadLetterPlace, DefinitionName, DefinitionRecord,
    Error, Field, Filter, LeaseMark, LeaseTake, LedgerRow, LedgerRowKey, ListPage, ListRequest, Lock,
    LockAnswer, LockHold, LockRequest, Member, NewDefinition, NewLease, PutDefinition, Seen, ServiceRecord,
    ShardLease, Store, Stored, Upkeep, UpkeepRequest, Write, WriteOutcome,
};
use async_trait::async_trait;
use goconductor_saga::{Event, Timestamp, WorkflowId};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;
use writers::Writers;

/// A transaction that the database ended to resolve a conflict is tried again this often.
const TRIES: u32 = 5;
/// Serialisation failure, and deadlock detected.
const CONFLICTS: [&str; 2] = ["(40001)", "(40P01)"];
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
            .map_err(|error| Error::Configuration { reason: error.to_string() })?
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
        upkeep::make_first_room(&store).await?;
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
    Error::Unavailable { reason }
}

/// What a driver's error means of a statement that is its own transaction: what the database itself
/// refused was not done, but a connection that broke may have taken the answer with it.
fn uncertain(error: sqlx::Error) -> Error {
    if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_)) {
        return Error::OutcomeUnknown { reason: error.to_string() };
    }
    unavailable(error)
}

async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Error> {
    // The answer may be what was lost: only a read can tell.
    transaction.commit().await.map_err(|error| Error::OutcomeUnknown { reason: error.to_string() })
}

/// Whether a row was to be written that is there already.
fn is_there(error: &Error) -> bool {
    matches!(error, Error::Unavailable { reason } if reason.ends_with("(23505)"))
}

/// Whether the database ended a transaction to resolve a conflict. By the code that [`unavailable`] puts
/// last: what the database says in words depends on its language.
fn is_conflict(error: &Error) -> bool {
    match error {
        Error::Unavailable { reason } => CONFLICTS.iter().any(|code| reason.ends_with(code)),
        Error::OutcomeUnknown { .. }
        | Error::Fenced { .. }
        | Error::Schema { .. }
        | Error::Corrupt { .. }
        | Error::Configuration { .. } => false,
    }
}

/// The value of a transaction's attempt, tried again if the database ended it to resolve a conflict.
macro_rules! until_no_conflict {
    ($attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt {
                Err(error) if is_conflict(&error) && tries < TRIES => tries += 1,
                ended => break ended,
            }
        }
    }};
}

impl PostgresStore {
    async fn write_once(&self, group: &[Write]) -> Result<Vec<WriteOutcome>, Error> {
        let (mut writer, place) = self.writers.take().await?;
        let outcomes = group::write(&mut writer.connection, group).await?;
        self.writers.give_back(writer);
        drop(place);
        Ok(outcomes)
    }

    async fn claim_once(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let mut transaction = self.begin().await?;
        let claim = ledger::claim(&mut transaction, request).await?;
        commit(transaction).await?;
        Ok(claim)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        until_no_conflict!(self.write_once(&group).await)
    }

    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        rows::read(&mut *self.connection().await?, ids).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        read::history(&mut *self.connection().await?, id, after_seq, limit).await
    }

    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
        read::seen(&mut *self.connection().await?, ids).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        read::list(&mut *self.connection().await?, request).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        read::counts(&mut *self.connection().await?, namespace, &by, filter).await
    }

    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        let now = self.now().await?;
        let mut transaction = self.begin().await?;
        let put = definitions::put(&mut transaction, &new, now).await?;
        commit(transaction).await?;
        Ok(put)
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        definitions::newest(&mut *self.connection().await?, names).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        definitions::get(&mut *self.connection().await?, namespace, name, version).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        definitions::all(&mut *self.connection().await?, namespace, name).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        definitions::put_service(&mut *self.connection().await?, &service).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        definitions::services(&mut *self.connection().await?).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        if let Some(nothing) = ledger::look(&mut *self.connection().await?, request).await? {
            return Ok(nothing);
        }
        until_no_conflict!(self.claim_once(request).await)
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(ledger::extend(&mut connection, rows, due_at).await)
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(ledger::release(&mut connection, rows).await)
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(ledger::expire_deliveries(&mut connection, now).await)
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        read::ledger(&mut *self.connection().await?, ids).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        read::backlog(&mut *self.connection().await?, now).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        read::ids(&mut *self.connection().await?, after, limit).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        read::orphans(&mut *self.connection().await?, limit).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        definitions::raise_epoch(&mut *self.connection().await?, name).await
    }

    async fn agreement(&self, name: &str) -> Result<Option<crate::Agreement>, Error> {
        agreements::get(&mut *self.connection().await?, name).await
    }

    async fn agree(
        &self,
        name: &str,
        revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<crate::Agreement>, Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(agreements::put(&mut connection, name, revision, value).await)
    }

    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        processes::announce(&mut *self.connection().await?, member).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        processes::members(&mut *self.connection().await?).await
    }

    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        processes::put_dead_letters(&mut *self.connection().await?, letters).await
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPlace>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        processes::dead_letters(&mut *self.connection().await?, before, limit).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        processes::dead_letter(&mut *self.connection().await?, id).await
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        processes::delete_dead_letter(&mut *self.connection().await?, id).await
    }

    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error> {
        locks::acquire(&mut *self.connection().await?, request).await
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error> {
        locks::last_for(&mut *self.connection().await?, hold, ttl).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error> {
        locks::last_for(&mut *self.connection().await?, hold, Duration::ZERO).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        locks::list(&mut *self.connection().await?, namespace, after, limit).await
    }

    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        leases::list(&mut *self.connection().await?, stream).await
    }

    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(leases::sync(&mut connection, stream, new, gone).await)
    }

    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(leases::take(&mut connection, stream, take).await)
    }

    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error> {
        let mut connection = self.connection().await?;
        until_no_conflict!(leases::mark(&mut connection, stream, owner, marks).await)
    }

    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error> {
        upkeep::upkeep(self, request).await
    }

    async fn sweep(&self) -> Result<(), Error> {
        upkeep::sweep(&mut *self.connection().await?).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let micros: i64 =
            sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&self.pool)
                .await
                .map_err(unavailable)?;
        Ok(Timestamp(micros))
    }

    async fn check(&self) -> Result<(), Error> {
        migrations::check(&mut *self.connection().await?).await
    }
}
