//! The inbox on SQLite.

use crate::{Compensate, Error, Execute, Executed, Failed, Key, Operation, parsed};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{SqliteConnection, SqlitePool};
use std::time::Duration;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS goconductor_inbox (
    step   TEXT    NOT NULL PRIMARY KEY,
    done   BOOLEAN NOT NULL DEFAULT false,
    output TEXT,
    undone BOOLEAN NOT NULL DEFAULT false,
    undo   TEXT,
    at     INTEGER NOT NULL DEFAULT (unixepoch())
) WITHOUT ROWID";

/// The inbox of a participant on SQLite. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteInbox {
    pool: SqlitePool,
}

impl SqliteInbox {
    /// Creates an inbox in the database of the participant.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Creates the missing objects of the inbox. Call it at every start; concurrent calls are safe.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if the database fails.
    pub async fn migrate(&self) -> Result<(), Error> {
        sqlx::raw_sql(TABLE).execute(&self.pool).await?;
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
        work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Value, E>> + Send,
    ) -> Result<Executed, Failed<E>> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::from)?;
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
        work: impl for<'c> FnOnce(&'c mut SqliteConnection, Value) -> BoxFuture<'c, Result<Value, E>> + Send,
    ) -> Result<Value, Failed<E>> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(Error::from)?;
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

    /// Decides on an execute in a transaction of the caller, which must have begun with `BEGIN IMMEDIATE`.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid, [`Error::Database`] if the database fails and
    /// [`Error::StoredOutput`] if the stored output is not JSON.
    pub async fn begin_execute(connection: &mut SqliteConnection, key: &str) -> Result<Execute, Error> {
        let key = Key::of(key, Operation::Execute)?;
        Ok(match load(connection, &key).await? {
            Some(StoredEntry { undone: true, .. }) => Execute::Refused,
            Some(StoredEntry { done: true, output, .. }) => Execute::Repeat(parsed(output)?),
            Some(StoredEntry { .. }) | None => Execute::First,
        })
    }

    /// Records the output of an execute.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid and [`Error::Database`] if the database fails.
    pub async fn finish_execute(
        connection: &mut SqliteConnection,
        key: &str,
        output: &Value,
    ) -> Result<(), Error> {
        let key = Key::of(key, Operation::Execute)?;
        sqlx::query(
            "INSERT INTO goconductor_inbox (step, done, output) VALUES (?1, true, ?2)
             ON CONFLICT (step) DO UPDATE SET done = true, output = excluded.output",
        )
        .bind(key.step())
        .bind(output.to_string())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Decides on a compensate in a transaction of the caller, which must have begun with `BEGIN IMMEDIATE`.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid, [`Error::Database`] if the database fails and
    /// [`Error::StoredOutput`] if the stored output is not JSON.
    pub async fn begin_compensate(connection: &mut SqliteConnection, key: &str) -> Result<Compensate, Error> {
        let key = Key::of(key, Operation::Compensate)?;
        match load(connection, &key).await? {
            Some(StoredEntry { undone: true, undo, .. }) => Ok(Compensate::Repeat(parsed(undo)?)),
            Some(StoredEntry { done: true, output, .. }) => Ok(Compensate::First(parsed(output)?)),
            Some(StoredEntry { .. }) | None => {
                // The record refuses an execute that arrives later.
                record_compensation(connection, &key, None).await?;
                Ok(Compensate::Nothing)
            }
        }
    }

    /// Records the output of a compensate.
    ///
    /// # Errors
    /// Returns [`Error::Key`] if the key is invalid and [`Error::Database`] if the database fails.
    pub async fn finish_compensate(
        connection: &mut SqliteConnection,
        key: &str,
        output: &Value,
    ) -> Result<(), Error> {
        record_compensation(connection, &Key::of(key, Operation::Compensate)?, Some(output)).await
    }

    /// Removes records that are older than `older_than`, and returns their number. A request whose record was removed
    /// would take effect again, so `older_than` must exceed the longest lifetime of a workflow. Thirty days suit most
    /// systems.
    ///
    /// # Errors
    /// Returns [`Error::Database`] if the database fails.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, Error> {
        let seconds = i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
        let removed = sqlx::query("DELETE FROM goconductor_inbox WHERE at < unixepoch() - ?1")
            .bind(seconds)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected())
    }
}

/// The record of a step.
struct StoredEntry {
    done: bool,
    output: Option<String>,
    undone: bool,
    undo: Option<String>,
}

async fn load(connection: &mut SqliteConnection, key: &Key) -> Result<Option<StoredEntry>, Error> {
    let row: Option<(bool, Option<String>, bool, Option<String>)> =
        sqlx::query_as("SELECT done, output, undone, undo FROM goconductor_inbox WHERE step = ?1")
            .bind(key.step())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(done, output, undone, undo)| StoredEntry { done, output, undone, undo }))
}

async fn record_compensation(
    connection: &mut SqliteConnection,
    key: &Key,
    output: Option<&Value>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO goconductor_inbox (step, undone, undo) VALUES (?1, true, ?2)
         ON CONFLICT (step) DO UPDATE SET undone = true, undo = excluded.undo",
    )
    .bind(key.step())
    .bind(output.map(Value::to_string))
    .execute(connection)
    .await?;
    Ok(())
}
