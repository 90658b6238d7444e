//! `goconductor lock …` and `goconductor election …` as types.

use clap::{Args, Subcommand};
use goconductor_service_kit::duration;
use std::time::Duration;

/// What to do with locks.
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// List the locks that are held, by key
    List {
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Take a lock, and print its fencing token with -o name
    Acquire {
        /// What is to be locked
        #[arg(value_parser = nameable)]
        key: String,
        /// Who holds it then; the same owner gets the same hold again
        #[arg(long)]
        owner: String,
        /// For how long, unless it is renewed
        #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
        ttl: Duration,
    },
    /// Hold a lock for longer
    Renew {
        #[command(flatten)]
        hold: HoldArgs,
        /// For how long from now
        #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
        ttl: Duration,
    },
    /// Give a lock back
    Release {
        #[command(flatten)]
        hold: HoldArgs,
    },
}

/// A lock in somebody's hands.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// What is locked
    #[arg(value_parser = nameable)]
    pub(crate) key: String,
    /// Who holds it
    #[arg(long)]
    pub(crate) owner: String,
    /// By which fencing token; without it, by whichever it is
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<u64>,
}

/// What to do with elections.
#[derive(Debug, Subcommand)]
pub(crate) enum ElectionCommand {
    /// List who leads what
    List,
    /// Show who leads one
    Describe {
        /// Its name, such as duties/0-of-4
        #[arg(value_parser = nameable)]
        name: String,
    },
    /// Have its leader step down: whoever is next in line leads it then
    StepDown {
        /// Its name
        #[arg(value_parser = nameable)]
        name: String,
    },
}

/// What a URL can name: it would take these for the way to somewhere else, and the call would ask for something else.
fn nameable(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("a name is not empty, and not . or ..".to_owned()),
        name => Ok(name.to_owned()),
    }
}
