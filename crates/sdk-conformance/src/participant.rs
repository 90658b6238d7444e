//! The database of the participant, with its inbox and its effects.

use crate::crash::die;
use crate::protocol::{Defect, InboxStep};
use anyhow::Context as _;
use goconductor::inbox::{Executed, SqliteInbox};
use goconductor::{ActionError, Context, Operation};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{SqliteConnection, SqlitePool};
use std::path::Path;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS effects (
    seq INTEGER PRIMARY KEY, step TEXT NOT NULL, operation TEXT NOT NULL)";

/// The database of the participant. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ParticipantDatabase {
    pool: SqlitePool,
    inbox: SqliteInbox,
    defect: Defect,
}

/// The effect of an attempt: a row of the table.
struct RecordedEffect {
    step: String,
    operation: Operation,
}

impl RecordedEffect {
    async fn insert(self, db: &mut SqliteConnection) -> Result<(), ActionError> {
        sqlx::query("INSERT INTO effects (step, operation) VALUES (?1, ?2)")
            .bind(self.step)
            .bind(self.operation.as_str())
            .execute(db)
            .await
            // The transaction is rolled back.
            .map_err(|error| ActionError::retryable("DATABASE", error.to_string()))?;
        Ok(())
    }
}

impl ParticipantDatabase {
    /// Opens the database at a path, which is created if it does not exist.
    pub(crate) async fn open(path: &Path, defect: Defect) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePool::connect_with(options)
            .await
            .with_context(|| format!("failed to open the database {}", path.display()))?;
        let inbox = SqliteInbox::new(pool.clone());
        inbox.migrate().await?;
        sqlx::raw_sql(TABLE).execute(&pool).await?;
        Ok(Self { pool, inbox, defect })
    }

    /// Records the effect of an attempt through the inbox.
    pub(crate) async fn run(
        &self,
        key: &str,
        context: &Context,
        step: &InboxStep,
    ) -> Result<Value, ActionError> {
        let effect = RecordedEffect { step: context.step().to_owned(), operation: context.operation() };
        let output = match effect.operation {
            Operation::Execute => self.execute(key, effect, step.output.clone()).await?,
            Operation::Compensate => self.compensate(key, effect).await?,
        };
        if step.die {
            die();
        }
        if step.answer.as_deref() == Some("lost") {
            return Err(ActionError::unknown("LOST", "the response was lost"));
        }
        Ok(output)
    }

    async fn execute(&self, key: &str, effect: RecordedEffect, output: Value) -> Result<Value, ActionError> {
        let done = self.inbox.execute::<ActionError>(key, |db| {
            Box::pin(async move {
                effect.insert(db).await?;
                Ok(output)
            })
        });
        match done.await? {
            Executed::Done { output, .. } => Ok(output),
            Executed::Refused => {
                Err(ActionError::refused("UNDONE", "the step was compensated before it was executed"))
            }
        }
    }

    async fn compensate(&self, key: &str, effect: RecordedEffect) -> Result<Value, ActionError> {
        let undone = self.inbox.compensate::<ActionError>(key, |db, _| {
            Box::pin(async move {
                effect.insert(db).await?;
                Ok(Value::Null)
            })
        });
        let output = undone.await?;
        if self.defect == Defect::InboxWithoutTombstone {
            sqlx::query("DELETE FROM goconductor_inbox WHERE undone AND NOT done")
                .execute(&self.pool)
                .await
                .map_err(ActionError::from_error)?;
        }
        Ok(output)
    }

    /// Returns the effects, in order.
    pub(crate) async fn effects(&self) -> anyhow::Result<Vec<Value>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT step, operation FROM effects ORDER BY seq").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|(step, operation)| json!({"step": step, "operation": operation})).collect())
    }
}
