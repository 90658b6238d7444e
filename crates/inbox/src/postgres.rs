//! PostgreSQL: the inbox as functions of the database, so that every language has the same.

use crate::{Compensate, Error, Execute, Executed, Failed, Key, Operation, parsed};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use std::time::Duration;

/// The table and the functions, for `psql` and for [`PgInbox::migrate`]: as often as one likes.
pub const POSTGRES_SQL: &str = include_str!("../sql/postgres.sql");
/// Any number, the same in every process: one at a time brings them up to date.
const LOCK: i64 = 0x676f_636f_696e_626f;

/// The inbox of a participant on PostgreSQL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PgInbox {
    pool: PgPool,
}

impl PgInbox {
    /// An inbox beside the participant's own tables.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes what is missing. To be called at each start; several processes may at once.
    ///
    /// # Errors
    /// When the database can't.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
        sqlx::raw_sql(POSTGRES_SQL).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Does the work of an execute once, in one transaction with the memory of it; a repeat gives what it
    /// gave.
    ///
    /// # Errors
    /// [`Failed::Work`] when the work failed: then nothing of it is there, and nothing is remembered.
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

    /// Undoes an execute once, in one transaction with the memory of it. The work is given what the execute
    /// gave, and is not called where there is nothing to undo.
    ///
    /// # Errors
    /// [`Failed::Work`] when the work failed: then nothing of it is there, and nothing is remembered.
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

    /// For one who holds the transaction himself: what an execute is to do. Waits for another transaction of
    /// the same step.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
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

    /// Remembers what an execute gave.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
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

    /// For one who holds the transaction himself: what a compensate is to do. Waits for another transaction of
    /// the same step.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
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

    /// Remembers what a compensate gave.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
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

    /// Forgets what is older; how much. Not sooner than a workflow may live: what is forgotten would be done
    /// again. Thirty days are safe for most.
    ///
    /// # Errors
    /// When the database can't.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, Error> {
        let gone: i64 = sqlx::query_scalar("SELECT goconductor_inbox_prune(make_interval(secs => $1))")
            .bind(older_than.as_secs_f64())
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }
}
