//! The arguments of `goconductor access`.

use super::StoreArgs;
use clap::{Args, Subcommand};
use goconductor_service_kit::duration;
use std::time::Duration;

/// Commands for access control.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Manage access keys, the credentials of programs
    #[command(subcommand)]
    Key(AccessKeyCommand),
}

/// Commands for access keys.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessKeyCommand {
    /// Create an access key and print its token, which cannot be shown again
    Create(Box<CreateKeyArgs>),
    /// List access keys in the order of their ids
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Revoke an access key; every process refuses it within 2 seconds
    Revoke {
        /// Id of the key
        id: String,
    },
    /// Replace an access key by one with the same rights, and print the token of the new one
    Rotate {
        /// Id of the key
        id: String,
        /// Time for which the previous key is still accepted
        #[arg(long, default_value = "0s", value_parser = duration::parse, value_name = "DURATION")]
        overlap: Duration,
    },
}

/// Arguments of `goconductor access key create`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CreateKeyArgs {
    /// Purpose of the key
    pub(crate) name: String,
    /// Role: viewer, operator, developer, worker, admin or a custom one; can be repeated
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub(crate) roles: Vec<String>,
    /// Namespace in which the roles apply, or * for all; can be repeated (default: the namespace of the command)
    #[arg(long = "in", value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,
    /// Service that a worker with the key may serve; can be repeated (default: all)
    #[arg(long = "service", value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Time after which the key is refused, such as 90d (default: it does not expire)
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) expires_in: Option<Duration>,
    /// Write the key to the database without a server, for the first key of an installation
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
