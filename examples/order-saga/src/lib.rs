//! Code that the three microservices of the order saga share: their arguments, and a database with an inbox.

use anyhow::Context;
use clap::Parser;
use goconductor::inbox::{Error as InboxError, Executed, Failed, SqliteInbox};
use goconductor::{ActionError, Conductor, Service, TlsFiles};
use serde_json::Value;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use std::path::PathBuf;
use std::time::Duration;

/// A microservice of the order saga.
#[derive(Debug, Parser)]
struct Arguments {
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

/// Runs a microservice until SIGTERM or SIGINT. `tables` is the SQL that creates its tables.
///
/// # Errors
/// Returns an error if the database cannot be opened or the URL of the gateway is invalid.
pub async fn run(tables: &str, service: impl FnOnce(Database) -> Service) -> anyhow::Result<()> {
    let Arguments { gateway, data, ca, cert, key } = Arguments::parse();
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
    conductor.serve(service(Database { inbox, pool })).await?.until_signal().await?;
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
