//! `goconductor definition …`

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to do with definitions.
#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// Apply files: equal content changes nothing, changed content is the next version
    Apply {
        #[command(flatten)]
        files: FilesArgs,
        /// Only let the server check them
        #[arg(long)]
        dry_run: bool,
    },
    /// Check files without a server
    Validate(FilesArgs),
    /// List the definitions
    List,
    /// Show a definition's text
    Get(NamedArgs),
    /// Compare a file with what the server has
    Diff {
        /// The file
        file: PathBuf,
    },
    /// List a definition's versions
    Versions {
        /// Its name
        name: String,
    },
    /// Draw a definition
    Graph {
        #[command(flatten)]
        what: GraphArgs,
        /// How it is drawn
        #[arg(long, value_enum, default_value_t)]
        format: GraphFormat,
    },
}

/// Files of definitions.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Files, or directories whose .yaml, .yml and .json files are meant
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// A definition of the server.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// Its name
    pub(crate) name: String,
    /// Its version; the newest if absent
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
}

/// A definition of the server, or a file.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// A definition of the server
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// A file instead; no server is needed
    #[arg(long, conflicts_with_all = ["name", "version"])]
    pub(crate) file: Option<PathBuf>,
    /// The definition's version; the newest if absent
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For people
    #[default]
    Text,
    /// Mermaid's flowchart
    Mermaid,
    /// Graphviz
    Dot,
}
