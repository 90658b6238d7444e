//! `goconductor db …`: administration of the database of the state store, without a server.

mod copy;
mod migrate;
mod status;
mod verify;

use crate::args::DbCommand;
use crate::error::Result;
use crate::output::Output;

/// Runs a command for the database.
pub(crate) async fn run(command: DbCommand, out: &Output) -> Result {
    match command {
        DbCommand::Status(args) => status::run(&args, out).await,
        DbCommand::Migrate(args) => migrate::run(&args, out).await,
        DbCommand::Verify(args) => verify::run(&args, out).await,
        DbCommand::Backup { file, store } => copy::backup(&file, &store, out),
        DbCommand::Restore { file, store } => copy::restore(&file, &store, out),
    }
}
