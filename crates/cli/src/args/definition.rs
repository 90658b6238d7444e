//! The arguments of `goconductor definition`.

use crate::complete;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;
use goconductor_simulator::StepFault;
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
    /// Compare two definitions by meaning; exit with 9 if they differ
    Diff(DiffArgs),
    /// List the versions of a definition
    Versions {
        /// Name of the definition
        #[arg(add = ArgValueCandidates::new(complete::definitions))]
        name: String,
    },
    /// Archive a definition: new starts are refused, running workflows continue, applying it again restores it
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
    /// Run every step with every fault in memory; exit with 1 if an effect remains
    ///
    /// Each step is refused, ends in doubt, times out, and its compensation fails. No participant is called.
    Simulate(SimulateArgs),
    /// Format files: keys in the canonical order, comments kept
    Fmt {
        #[command(flatten)]
        files: FilesArgs,
        /// Change nothing; exit with 9 if a file is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Import a definition of Conductor, Amazon States Language or Serverless Workflow
    ///
    /// Notes on standard error state what was changed, lost or refused.
    Import(ImportArgs),
    /// Print a commented definition to begin with
    Init {
        /// DefinitionTemplate to print (default: order)
        #[arg(value_enum, default_value_t)]
        template: DefinitionTemplate,
        /// Write to a file, which must not exist, instead of standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
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
    /// SVG image
    Svg,
}

/// The definitions to compare.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// File, or NAME or NAME@VERSION of a definition on the server
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// The same for the new definition (default: OLD, compared with the newest version on the server)
    #[arg(value_name = "NEW")]
    pub(crate) new: Option<String>,
    /// Compare the texts line by line
    #[arg(long)]
    pub(crate) text: bool,
}

/// Arguments of `definition simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// File, or NAME or NAME@VERSION of a definition on the server
    #[arg(value_name = "FILE|NAME", add = ArgValueCandidates::new(complete::definitions))]
    pub(crate) what: String,
    /// Version of the definition (default: the newest)
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
    /// Show one course in detail: refused (the default), unknown, timeout or compensation
    #[arg(long, value_name = "STEP[=FAULT]", value_parser = fault)]
    pub(crate) fail: Option<(String, StepFault)>,
    /// Input as JSON, @FILE or - (default: generated from the input schema)
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// Output of a step as JSON or @FILE; can be repeated (default: generated from the expressions)
    #[arg(long, value_name = "STEP=JSON", value_parser = step_output)]
    pub(crate) step_output: Vec<(String, String)>,
}

/// Arguments of `definition import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File in JSON or YAML, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Engine of the file (default: recognised by its keys)
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub(crate) from: Option<ImportSource>,
    /// Exit with 8 and print no definition if a part of the file cannot be expressed
    #[arg(long)]
    pub(crate) strict: bool,
}

/// The engine of a definition that is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportSource {
    /// Workflow of OSS Conductor
    Conductor,
    /// State machine in Amazon States Language, with JSONPath
    Asl,
    /// Workflow of Serverless Workflow 0.8 or 1.0
    ServerlessWorkflow,
}

/// Parses `STEP` or `STEP=FAULT`.
fn fault(text: &str) -> Result<(String, StepFault), String> {
    let (step, fault) = text.split_once('=').unwrap_or((text, "refused"));
    let fault = fault.parse::<StepFault>().map_err(|error| error.to_string())?;
    Ok((step.to_owned(), fault))
}

/// Parses `STEP=JSON`.
fn step_output(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((step, value)) if !step.is_empty() => Ok((step.to_owned(), value.to_owned())),
        _ => Err("expected STEP=JSON, such as charge='{\"payment_id\": \"p1\"}'".to_owned()),
    }
}

/// A template of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DefinitionTemplate {
    /// An order: a payment, a reservation and a shipment
    #[default]
    Order,
    /// A trip: parallel bookings, a condition and a pivot
    Travel,
    /// A transfer between two accounts: a pivot and a retriable step
    MoneyTransfer,
    /// The billing of a subscription: conditions and long retries
    Subscription,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_a_refusal_unless_it_is_named() {
        assert_eq!(fault("charge"), Ok(("charge".to_owned(), StepFault::Refused)));
        assert_eq!(fault("charge=timeout"), Ok(("charge".to_owned(), StepFault::Timeout)));
        assert!(fault("charge=late").unwrap_err().contains("refused, unknown, timeout or compensation"));
    }
}
