//! The inbox on PostgreSQL, as functions of the database that every language can call.

use crate::{Compensate, Error, Execute, Executed, Failed, Key, Operation, parsed};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use std::time::Duration;

/// The table and the functions, for `psql` and for [`PgInbox::migrate`]. The script can be repeated.
pub const POSTGRES_SQL: &str = include_str!("../sql/postgres.sql");
/// The key of the advisory lock under which one process at a time migrates. The number is arbitrary.
const LOCK: i64 = 0x676f_636f_696e_626f;

/// The inbox of a participant on PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PgInbox {
    pool: PgPool,
}

impl PgInbox {
    /// Creates an inbox in the database of the participant.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Creates the missing objects of the inbox. Call it at every start; concurrent calls are safe.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if the database fails.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        sqlx::raw_sql(POSTGRES_SQL).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Does the work of an execute once, and records its output in the same transaction. A repeated request returns the
    /// stored output.
    ///
    /// # Errors
    /// Returns [`Failed::Work`] if the work fails; its changes are then rolled back. Returns [`Failed::Inbox`] if the key
    /// is invalid or the database fails.
    pub async fn execute<E>(
        &self,
        key: &str,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<Value, E>> + Send,
    ) -> Result<Executed, Failed<E>> {
        let mut transaction = self.pool.begin().await.map_err(Error::from)?;
        let output = match Self::begin_execute(&mut transaction, key).await? {
            Execute::Repeat(output) => return Ok(Executed::Done { output, repeated: true }),
            Execute::Refused => return Ok(Executed::Refused),
            Execute::First => work(&mut transaction).await.map_err(Failed::Work)?,
        };
        Self::finish_execute(&mut transaction, key, &output).await?;
        transaction.commit().await.map_err(Error::from)?;
        Ok(Executed::Done { output, repeated: false })
    }

    /// Undoes an execute once, and records the output in the same transaction. `work` receives the output of the execute.
    /// It is not called if the execute never arrived.
    ///
    /// # Errors
    /// Returns [`Failed::Work`] if the work fails; its changes are then rolled back. Returns [`Failed::Inbox`] if the key
    /// is invalid or the database fails.
    pub async fn compensate<E>(
        &self,
        key: &str,
        work: impl for<'c> FnOnce(&'c mut PgConnection, Value) -> BoxFuture<'c, Result<Value, E>> + Send,
    ) -> Result<Value, Failed<E>> {
        let mut transaction = self.pool.begin().await.map_err(Error::from)?;
        let output = match Self::begin_compensate(&mut transaction, key).await? {
            Compensate::Repeat(output) => return Ok(output),
            Compensate::Nothing => Value::Null,
            Compensate::First(done) => {
                let output = work(&mut transaction, done).await.map_err(Failed::Work)?;
                Self::finish_compensate(&mut transaction, key, &output).await?;
                output
            }
        };
        transaction.commit().await.map_err(Error::from)?;
        Ok(output)
    }

    /// Decides on an execute in a transaction of the caller. Waits for other transactions of the same step.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid, [`Error::Database`] if the database fails and
    /// [`Error::StoredOutput`] if the stored output is not JSON.
    pub async fn begin_execute(connection: &mut PgConnection, key: &str) -> Result<Execute, Error> {
        Key::of(key, Operation::Execute)?;
        let (verdict, output): (String, Option<String>) =
            sqlx::query_as("SELECT verdict, output FROM goconductor_inbox_execute($1)")
                .bind(key)
                .fetch_one(connection)
                .await?;
        Ok(match verdict.as_str() {
            "repeat" => Execute::Repeat(parsed(output)?),
            "refused" => Execute::Refused,
            _ => Execute::First,
        })
    }

    /// Records the output of an execute.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid and [`Error::Database`] if the database fails.
    pub async fn finish_execute(
        connection: &mut PgConnection,
        key: &str,
        output: &Value,
    ) -> Result<(), Error> {
        Key::of(key, Operation::Execute)?;
        let done = sqlx::query("SELECT goconductor_inbox_done($1, $2)").bind(key).bind(output.to_string());
        done.execute(connection).await?;
        Ok(())
    }

    /// Decides on a compensate in a transaction of the caller. Waits for other transactions of the same step.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid, [`Error::Database`] if the database fails and
    /// [`Error::StoredOutput`] if the stored output is not JSON.
    pub async fn begin_compensate(connection: &mut PgConnection, key: &str) -> Result<Compensate, Error> {
        Key::of(key, Operation::Compensate)?;
        let (verdict, output): (String, Option<String>) =
            sqlx::query_as("SELECT verdict, output FROM goconductor_inbox_compensate($1)")
                .bind(key)
                .fetch_one(connection)
                .await?;
        Ok(match verdict.as_str() {
            "repeat" => Compensate::Repeat(parsed(output)?),
            "nothing" => Compensate::Nothing,
            _ => Compensate::First(parsed(output)?),
        })
    }

    /// Records the output of a compensate.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid and [`Error::Database`] if the database fails.
    pub async fn finish_compensate(
        connection: &mut PgConnection,
        key: &str,
        output: &Value,
    ) -> Result<(), Error> {
        Key::of(key, Operation::Compensate)?;
        let done = sqlx::query("SELECT goconductor_inbox_undone($1, $2)").bind(key).bind(output.to_string());
        done.execute(connection).await?;
        Ok(())
    }

    /// Removes records that are older than `older_than`, and returns their number. A request whose record was removed
    /// would take effect again, so `older_than` must exceed the longest lifetime of a workflow. Thirty days suit most
    /// systems.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if the database fails.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, Error> {
        let removed: i64 = sqlx::query_scalar("SELECT goconductor_inbox_prune(make_interval(secs => $1))")
            .bind(older_than.as_secs_f64())
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(removed).unwrap_or(0))
    }
}
