//! The arguments of `goconductor secret`.

use super::path_segment;
use crate::complete;
use clap::Subcommand;
use clap_complete::ArgValueCandidates;
use std::path::PathBuf;
use std::time::Duration;

/// Commands for secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set the value of a secret, read from standard input or from a file: create its next version
    Set {
        /// Name of the secret
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::secrets))]
        name: String,
        /// File with the value (default: standard input); one line break at its end is removed
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// Show a secret without its value
    #[command(visible_alias = "describe")]
    Get {
        /// Name of the secret
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::secrets))]
        name: String,
    },
    /// List secrets without their values, in the order of their names
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Delete a secret with all its versions
    Delete {
        /// Name of the secret
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::secrets))]
        name: String,
    },
    /// Make the first master key of the server the current one
    RotateKey {
        /// Time to wait until all data keys are wrapped with the new key
        #[arg(long, value_name = "DURATION", value_parser = goconductor_service_kit::duration::parse, default_value = "1m")]
        wait: Duration,
    },
    /// Create the next key for the payloads of the namespace
    RotatePayloadKey,
    /// Print a new master key; needs no server
    GenerateKey {
        /// File to create with the key, readable by its owner only (default: standard output)
        #[arg(long, value_name = "FILE")]
        to_file: Option<PathBuf>,
    },
}
