//! The arguments of `goconductor definition`.

use crate::complete;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;
use std::path::PathBuf;

/// Commands for definitions.
#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// Apply definitions from files; changed content becomes the next version
    Apply {
        #[command(flatten)]
        files: FilesArgs,
        /// Validate on the server without applying
        #[arg(long)]
        dry_run: bool,
    },
    /// Validate files without a server
    Validate(FilesArgs),
    /// List definitions
    #[command(visible_alias = "ls")]
    List,
    /// Print the source of a definition
    #[command(visible_alias = "describe")]
    Get(NamedArgs),
    /// Compare a file with the newest version on the server
    Diff {
        /// File to compare
        file: PathBuf,
    },
    /// List the versions of a definition
    Versions {
        /// Name of the definition
        #[arg(add = ArgValueCandidates::new(complete::definitions))]
        name: String,
    },
    /// Archive a definition: new starts are refused, running workflows go on, applying it again restores it
    Delete {
        /// Name of the definition
        #[arg(add = ArgValueCandidates::new(complete::definitions))]
        name: String,
    },
    /// Draw the graph of a definition
    Graph {
        #[command(flatten)]
        what: GraphArgs,
        /// Format of the drawing
        #[arg(long, value_enum, default_value_t)]
        format: GraphFormat,
    },
}

/// Definition files.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Files, or directories from which to read .yaml, .yml and .json files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// A version of a definition on the server.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// Name of the definition
    #[arg(add = ArgValueCandidates::new(complete::definitions))]
    pub(crate) name: String,
    /// Version of the definition (default: the newest)
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
}

/// A definition on the server or in a file.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// Name of a definition on the server
    #[arg(required_unless_present = "file", add = ArgValueCandidates::new(complete::definitions))]
    pub(crate) name: Option<String>,
    /// Draw a file, without a server
    #[arg(long, conflicts_with_all = ["name", "version"])]
    pub(crate) file: Option<PathBuf>,
    /// Version of the definition (default: the newest)
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
}

/// The format of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Text for the terminal
    #[default]
    Text,
    /// Mermaid flowchart
    Mermaid,
    /// Graphviz DOT
    Dot,
}
