//! The arguments of `goconductor db`.

use super::StoreArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Commands for the database of the state store.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Show the schema, pending migrations and connected processes; exit code 1 if this release cannot use the store
    Status(StoreArgs),
    /// Apply pending migrations; does nothing if there are none
    Migrate(MigrateArgs),
    /// Check the database itself, and that histories, states and dispatch ledger agree; exit code 1 if there are findings
    Verify(StoreArgs),
    /// Copy a SQLite store to a new file while a server uses it
    Backup {
        /// File to write; it must not exist
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Restore a backup of a SQLite store where no store is
    Restore {
        /// Backup to read
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Arguments of `goconductor db migrate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Print the pending migrations and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Version of the schema to migrate to (default: the version of this release)
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<u32>,
    /// End the support of earlier releases, after all processes were upgraded: they then refuse the database, and new
    /// workflows follow the rules of this release
    #[arg(long, conflicts_with_all = ["dry_run", "to"])]
    pub(crate) finish: bool,
}
