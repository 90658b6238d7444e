//! A microservice that sometimes dies between its commit and its response, which is the case that the inbox handles.
//!
//!     fragile GATEWAY DATABASE
use anyhow::Context;
use goconductor::inbox::{Executed, Failed, SqliteInbox};
use goconductor::{ActionError, CompensationInput, Conductor, Context as Attempt, Service};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One of this many commits gets no response.
const DEATH: u64 = 16;

#[derive(Clone)]
struct Fragile {
    inbox: SqliteInbox,
    commits: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let gateway = arguments.next().context("no gateway")?;
    let database = arguments.next().context("no database")?;
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options).await?;
    let inbox = SqliteInbox::new(pool.clone());
    inbox.migrate().await?;
    let table = "CREATE TABLE IF NOT EXISTS effects (step TEXT NOT NULL, applied INTEGER NOT NULL, undone INTEGER NOT NULL)";
    sqlx::raw_sql(table).execute(&pool).await?;
    let fragile = Fragile { inbox, commits: Arc::new(AtomicU64::new(u64::from(std::process::id()))) };
    let undo = fragile.clone();
    let service = Service::new("fragile")
        .action("do", move |attempt, input| execute(fragile.clone(), attempt, input))
        .compensation("undo", move |attempt, input| compensate(undo.clone(), attempt, input));
    Conductor::connect(&gateway)?.serve(service).await?.until_signal().await?;
    Ok(())
}

impl Fragile {
    /// Ends the process after some commits, so that the caller gets no response.
    fn committed(&self) {
        if self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(DEATH) {
            std::process::abort();
        }
    }
}

fn step(attempt: &Attempt) -> String {
    format!("{}/{}", attempt.workflow_id(), attempt.step())
}

async fn execute(of: Fragile, attempt: Attempt, input: Value) -> Result<Value, ActionError> {
    if input.get("refuse").and_then(Value::as_str) == Some(attempt.step()) {
        return Err(ActionError::refused("REFUSED", "scripted refusal"));
    }
    let step = step(&attempt);
    let done = of.inbox.execute(attempt.key(), |db| {
        Box::pin(async move {
            let effect = sqlx::query("INSERT INTO effects (step, applied, undone) VALUES (?1, 1, 0)");
            effect
                .bind(step)
                .execute(db)
                .await
                .map_err(|error| ActionError::retryable("DATABASE", error.to_string()))?;
            Ok(json!({"done": true}))
        })
    });
    match done.await {
        Ok(Executed::Done { output, repeated }) => {
            if !repeated {
                of.committed();
            }
            Ok(output)
        }
        Ok(Executed::Refused) => Err(ActionError::refused("UNDONE", "the compensate arrived first")),
        Err(Failed::Work(failure)) => Err(failure),
        Err(Failed::Inbox(error)) => Err(ActionError::unknown("DATABASE", error.to_string())),
    }
}

async fn compensate(
    of: Fragile,
    attempt: Attempt,
    _: CompensationInput<Value, Value>,
) -> Result<Value, ActionError> {
    let step = step(&attempt);
    let done = of.inbox.compensate(attempt.key(), |db, _| {
        Box::pin(async move {
            let effect = sqlx::query("INSERT INTO effects (step, applied, undone) VALUES (?1, 0, 1)");
            effect
                .bind(step)
                .execute(db)
                .await
                .map_err(|error| ActionError::retryable("DATABASE", error.to_string()))?;
            Ok(Value::Null)
        })
    });
    match done.await {
        Ok(output) => {
            of.committed();
            Ok(output)
        }
        Err(Failed::Work(failure)) => Err(failure),
        Err(Failed::Inbox(error)) => Err(ActionError::unknown("DATABASE", error.to_string())),
    }
}
