//! Code that the microservices of the examples share: their arguments, and a database with an inbox.

use anyhow::Context;
use clap::Parser;
use goconductor::inbox::{Error as InboxError, Executed, Failed, SqliteInbox};
use goconductor::{ActionError, Conductor, Service, TlsFiles};
use serde_json::Value;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use std::path::PathBuf;
use std::time::Duration;

/// A microservice of an example.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// URL of the gateway
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    gateway: String,
    /// Path of the microservice's SQLite database, which is created if it does not exist
    #[arg(long)]
    data: PathBuf,
    /// Authorities that signed the certificates of GoConductor, for a gateway with https://
    #[arg(long, env = "GOCONDUCTOR_CA", requires = "cert")]
    ca: Option<PathBuf>,
    /// Certificate of this microservice, with the role of a worker
    #[arg(long, env = "GOCONDUCTOR_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of the certificate
    #[arg(long, env = "GOCONDUCTOR_KEY", requires = "ca")]
    key: Option<PathBuf>,
}

/// The database of a microservice.
#[derive(Debug, Clone)]
pub struct Database {
    /// The inbox, in the same database as the data that the actions change.
    pub inbox: SqliteInbox,
    /// A connection pool for reads.
    pub pool: SqlitePool,
}

/// Runs microservices with the arguments of the program until SIGTERM or SIGINT. `tables` is the SQL that creates their
/// tables.
///
/// # Errors
/// Returns an error if the database cannot be opened or the URL of the gateway is invalid.
pub async fn run<S: IntoIterator<Item = Service>>(
    tables: &str,
    services: impl FnOnce(Database) -> S,
) -> anyhow::Result<()> {
    run_with(Arguments::parse(), tables, services).await
}

/// Runs microservices like [`run`], with arguments that a program has parsed.
///
/// # Errors
/// Returns an error if the database cannot be opened or the URL of the gateway is invalid.
pub async fn run_with<S: IntoIterator<Item = Service>>(
    arguments: Arguments,
    tables: &str,
    services: impl FnOnce(Database) -> S,
) -> anyhow::Result<()> {
    let Arguments { gateway, data, ca, cert, key } = arguments;
    let options = SqliteConnectOptions::new()
        .filename(&data)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePool::connect_with(options)
        .await
        .with_context(|| format!("failed to open the database {}", data.display()))?;
    let inbox = SqliteInbox::new(pool.clone());
    inbox.migrate().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(tables.to_owned())).execute(&pool).await?;
    let files = TlsFiles { ca_file: ca, certificate_file: cert, key_file: key };
    let conductor = match files.is_empty() {
        true => Conductor::connect(&gateway)?,
        false => Conductor::connect_with_tls(&gateway, "default", files)?,
    };
    let mut handles = Vec::new();
    for service in services(Database { inbox, pool }) {
        handles.push(conductor.serve(service).await?);
    }
    let last = handles.pop().context("the program has no service")?;
    last.until_signal().await?;
    for handle in handles {
        handle.shutdown().await;
    }
    Ok(())
}

/// Converts the result of an execute in the inbox to the result of an action.
///
/// # Errors
/// Returns the failure of the action, [`ActionError::Refused`] if the step was compensated before, and
/// [`ActionError::Unknown`] if the database failed.
pub fn executed(done: Result<Executed, Failed<ActionError>>) -> Result<Value, ActionError> {
    match done {
        Ok(Executed::Done { output, .. }) => Ok(output),
        Ok(Executed::Refused) => {
            Err(ActionError::refused("UNDONE", "the step was compensated before it was executed"))
        }
        Err(Failed::Work(failure)) => Err(failure),
        Err(Failed::Inbox(error)) => Err(database_failed(&error)),
    }
}

/// Converts the result of a compensate in the inbox to the result of an action.
///
/// # Errors
/// Returns the failure of the action, and [`ActionError::Unknown`] if the database failed.
pub fn compensated(done: Result<Value, Failed<ActionError>>) -> Result<Value, ActionError> {
    done.map_err(|failed| match failed {
        Failed::Work(failure) => failure,
        Failed::Inbox(error) => database_failed(&error),
    })
}

/// The response to a commit may have been lost. The next attempt finds the effect in the inbox.
fn database_failed(error: &InboxError) -> ActionError {
    ActionError::unknown("DATABASE", error.to_string())
}

/// Converts an error of a query inside the transaction. The transaction is rolled back, so the action can be retried.
#[must_use]
pub fn rolled_back(error: &sqlx::Error) -> ActionError {
    ActionError::retryable("DATABASE", error.to_string())
}
