//! The arguments of `goconductor lock` and `goconductor election`.

use crate::complete;
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use goconductor_service_kit::duration;
use std::time::Duration;

/// Commands for locks.
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// List held locks in the order of their keys
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Acquire a lock; `-o name` prints its fencing token
    Acquire {
        /// Key of the lock
        #[arg(value_parser = path_segment)]
        key: String,
        /// Owner of the lock; a repeated call by the same owner renews the lock
        #[arg(long)]
        owner: String,
        /// Time to live, unless the lock is renewed
        #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
        ttl: Duration,
    },
    /// Renew a lock
    Renew {
        #[command(flatten)]
        hold: HoldArgs,
        /// Time to live from now
        #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
        ttl: Duration,
    },
    /// Release a lock
    Release {
        #[command(flatten)]
        hold: HoldArgs,
    },
}

/// A held lock.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// Key of the lock
    #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::locks))]
    pub(crate) key: String,
    /// Owner of the lock
    #[arg(long)]
    pub(crate) owner: String,
    /// Fencing token of the hold (default: any)
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<u64>,
}

/// Commands for elections.
#[derive(Debug, Subcommand)]
pub(crate) enum ElectionCommand {
    /// List elections and their leaders
    #[command(visible_alias = "ls")]
    List,
    /// Show the leader of an election
    #[command(visible_alias = "get")]
    Describe {
        /// Name of the election, such as duties/0-of-4
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::elections))]
        name: String,
    },
    /// Make the leader step down, so that the next candidate takes over
    StepDown {
        /// Name of the election
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::elections))]
        name: String,
    },
}

/// Parses a name that becomes a path segment of a URL. A URL parser resolves `.` and `..`, so the request would go to
/// another resource.
pub(super) fn path_segment(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("a name must not be empty, \".\" or \"..\"".to_owned()),
        name => Ok(name.to_owned()),
    }
}
