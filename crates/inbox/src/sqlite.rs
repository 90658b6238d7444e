//! SQLite: the same steps as statements.

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
    /// An inbox beside the participant's own tables.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Makes what is missing. To be called at each start; several processes may at once.
    ///
    /// # Errors
    /// When the database can't.
    pub async fn migrate(&self) -> Result<(), Error> {
        sqlx::raw_sql(TABLE).execute(&self.pool).await?;
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

    /// Undoes an execute once, in one transaction with the memory of it. The work is given what the execute
    /// gave, and is not called where there is nothing to undo.
    ///
    /// # Errors
    /// [`Failed::Work`] when the work failed: then nothing of it is there, and nothing is remembered.
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

    /// For one who holds the transaction himself, which has to have begun by `BEGIN IMMEDIATE`: what an execute
    /// is to do.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
    pub async fn begin_execute(connection: &mut SqliteConnection, key: &str) -> Result<Execute, Error> {
        let key = Key::of(key, Operation::Execute)?;
        Ok(match known(connection, &key).await? {
            Some(Known { undone: true, .. }) => Execute::Refused,
            Some(Known { done: true, output, .. }) => Execute::Repeat(parsed(output)?),
            Some(Known { .. }) | None => Execute::First,
        })
    }

    /// Remembers what an execute gave.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
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

    /// For one who holds the transaction himself, which has to have begun by `BEGIN IMMEDIATE`: what a
    /// compensate is to do.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
    pub async fn begin_compensate(connection: &mut SqliteConnection, key: &str) -> Result<Compensate, Error> {
        let key = Key::of(key, Operation::Compensate)?;
        match known(connection, &key).await? {
            Some(Known { undone: true, undo, .. }) => Ok(Compensate::Repeat(parsed(undo)?)),
            Some(Known { done: true, output, .. }) => Ok(Compensate::First(parsed(output)?)),
            Some(Known { .. }) | None => {
                // Remembered: an execute that is still on its way comes too late.
                undone(connection, &key, None).await?;
                Ok(Compensate::Nothing)
            }
        }
    }

    /// Remembers what a compensate gave.
    ///
    /// # Errors
    /// When the key is none, or the database can't.
    pub async fn finish_compensate(
        connection: &mut SqliteConnection,
        key: &str,
        output: &Value,
    ) -> Result<(), Error> {
        undone(connection, &Key::of(key, Operation::Compensate)?, Some(output)).await
    }

    /// Forgets what is older; how much. Not sooner than a workflow may live: what is forgotten would be done
    /// again. Thirty days are safe for most.
    ///
    /// # Errors
    /// When the database can't.
    pub async fn prune(&self, older_than: Duration) -> Result<u64, Error> {
        let seconds = i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
        let gone = sqlx::query("DELETE FROM goconductor_inbox WHERE at < unixepoch() - ?1")
            .bind(seconds)
            .execute(&self.pool)
            .await?;
        Ok(gone.rows_affected())
    }
}

/// What is remembered of a step.
struct Known {
    done: bool,
    output: Option<String>,
    undone: bool,
    undo: Option<String>,
}

async fn known(connection: &mut SqliteConnection, key: &Key) -> Result<Option<Known>, Error> {
    let row: Option<(bool, Option<String>, bool, Option<String>)> =
        sqlx::query_as("SELECT done, output, undone, undo FROM goconductor_inbox WHERE step = ?1")
            .bind(key.step())
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|(done, output, undone, undo)| Known { done, output, undone, undo }))
}

async fn undone(connection: &mut SqliteConnection, key: &Key, output: Option<&Value>) -> Result<(), Error> {
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
