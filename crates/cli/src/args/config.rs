//! The arguments of `goconductor config`.

use super::SettingArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Commands for the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each setting and its origin, with secrets masked
    Explain {
        #[command(flatten)]
        settings: SettingArgs,
        /// Include the settings that were changed by the API of the server
        #[arg(long)]
        live: bool,
    },
    /// Print the settings that were changed by the API, or one of them
    Get {
        /// Dotted path of a setting or section, such as limits.page_size (default: all)
        #[arg(value_name = "PATH")]
        path: Option<String>,
    },
    /// Change settings of all processes
    Set {
        /// Setting and its new value in YAML, such as limits.page_size=50; null removes it
        #[arg(value_name = "PATH=VALUE", required = true, value_parser = super::setting)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        change: ConfigChangeArgs,
    },
    /// Replace the settings of the API by those of a file
    Apply {
        /// File in YAML or JSON, or `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        change: ConfigChangeArgs,
    },
    /// Compare a file with the settings of the API; exit with 9 if they differ
    Diff {
        /// File in YAML or JSON, or `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Change the settings of the API in the editor of VISUAL or EDITOR
    Edit {
        #[command(flatten)]
        change: ConfigChangeArgs,
    },
    /// List the versions of the settings of the API, newest first, or show one
    History {
        /// Version to show (default: list all)
        #[arg(value_name = "VERSION")]
        version: Option<u64>,
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Return to the settings of an earlier version
    Rollback {
        /// Version whose settings become the newest ones; 0 removes all
        #[arg(value_name = "VERSION")]
        version: u64,
        /// Reason for the change, which the history keeps
        #[arg(long)]
        reason: Option<String>,
    },
    /// Print the JSON Schema of the configuration, which states when a change of each setting takes effect
    Schema,
    /// Check a configuration file without a server; exit with 8 if it is invalid
    Validate {
        /// Configuration file in YAML
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Options of a change of the configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigChangeArgs {
    /// Reason for the change, which the history keeps
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only check the change, which includes connections to the servers that it names
    #[arg(long)]
    pub(crate) dry_run: bool,
}
