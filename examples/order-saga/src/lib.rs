//! What the three microservices of the order saga share: where GoConductor is, and a database of one's own
//! with an inbox in it.

use anyhow::Context;
use clap::Parser;
use goconductor::inbox::{Error as InboxError, Executed, Failed, SqliteInbox};
use goconductor::{Conductor, Failure, Service};
use serde_json::Value;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use std::path::PathBuf;
use std::time::Duration;

/// A microservice of the order saga.
#[derive(Debug, Parser)]
struct Arguments {
    /// A gateway of GoConductor
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    gateway: String,
    /// The microservice's own database
    #[arg(long)]
    data: PathBuf,
}

/// The microservice's database.
#[derive(Debug, Clone)]
pub struct Database {
    /// What was done, beside what it changed.
    pub inbox: SqliteInbox,
    /// For reads.
    pub pool: SqlitePool,
}

/// Runs a microservice until SIGTERM or SIGINT: `tables` are made if they are missing.
///
/// # Errors
/// When the database can't be opened, or no gateway is named.
pub async fn run(tables: &str, service: impl FnOnce(Database) -> Service) -> anyhow::Result<()> {
    let Arguments { gateway, data } = Arguments::parse();
    let options = SqliteConnectOptions::new()
        .filename(&data)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options).await.with_context(|| data.display().to_string())?;
    let inbox = SqliteInbox::new(pool.clone());
    inbox.migrate().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(tables.to_owned())).execute(&pool).await?;
    let conductor = Conductor::connect(&gateway)?;
    conductor.serve(service(Database { inbox, pool })).await?.until_signal().await?;
    Ok(())
}

/// An execute's end in the saga's words.
///
/// # Errors
/// As the work said; what the database could not do may succeed later.
pub fn answer(done: Result<Executed, Failed<Failure>>) -> Result<Value, Failure> {
    match done {
        Ok(Executed::Done { output, .. }) => Ok(output),
        Ok(Executed::Refused) => Err(Failure::refused("UNDONE", "it was undone before it came")),
        Err(Failed::Work(failure)) => Err(failure),
        Err(Failed::Inbox(error)) => Err(trouble(&error)),
    }
}

/// A compensate's end in the saga's words.
///
/// # Errors
/// As the work said; what the database could not do may succeed later.
pub fn undone(done: Result<Value, Failed<Failure>>) -> Result<Value, Failure> {
    done.map_err(|failed| match failed {
        Failed::Work(failure) => failure,
        Failed::Inbox(error) => trouble(&error),
    })
}

/// A commit whose answer was lost may have happened: the next attempt finds out.
fn trouble(error: &InboxError) -> Failure {
    Failure::unknown("DATABASE", error.to_string())
}

/// A database's error within the work: what was changed is rolled back.
#[must_use]
pub fn rolled_back(error: &sqlx::Error) -> Failure {
    Failure::retryable("DATABASE", error.to_string())
}
