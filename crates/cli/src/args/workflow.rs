//! `goconductor workflow …`

use clap::{Args, Subcommand, ValueEnum};
use goconductor_service_kit::duration;
use std::time::Duration;

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Start a workflow
    Start(StartArgs),
    /// List workflows, newest first
    List(ListArgs),
    /// Count workflows
    Count {
        /// By what
        #[arg(long, value_enum, default_value_t)]
        by: CountBy,
        /// Which: status = ERROR AND definition = "order-processing"
        #[arg(long)]
        filter: Option<String>,
    },
    /// Show a workflow with its timeline, and why it stands still
    Describe {
        /// The workflow
        id: String,
    },
    /// Show what happened
    History {
        /// The workflow
        id: String,
        /// Go on until the end
        #[arg(long, short)]
        follow: bool,
    },
    /// Show a workflow live until it ends
    Watch {
        /// The workflow
        id: String,
    },
    /// Show a workflow's result
    Result {
        /// The workflow
        id: String,
        /// Wait so long for the end, such as 30s
        #[arg(long, value_parser = span, value_name = "DURATION")]
        wait: Option<Duration>,
    },
    /// Roll workflows back
    Cancel(CancelArgs),
    /// End workflows without a roll-back
    Terminate(TerminateArgs),
    /// Hold workflows: nothing new is begun
    Pause(CancelArgs),
    /// Let held workflows go on
    Resume(CancelArgs),
    /// Try a step again now; during a roll-back, its compensation
    Retry {
        #[command(flatten)]
        step: StepArgs,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a step be; during a roll-back, its compensation
    Skip(StepReasonArgs),
    /// Give a step's result by hand; during a roll-back, its compensation's
    Complete {
        #[command(flatten)]
        step: StepReasonArgs,
        /// What the step would have answered: JSON, @file or - for standard input
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
    },
}

/// A workflow to start.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The definition's name
    pub(crate) definition: String,
    /// What to start it with: JSON, @file or - for standard input
    #[arg(long, short, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// A repeat with the same key shows the workflow that is there
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// The definition's version; the newest if absent
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
    /// To find it by; may be repeated
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Wait for the end; the exit code says how it ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this, such as 60s
    #[arg(long, requires = "wait", value_parser = span, value_name = "DURATION")]
    pub(crate) timeout: Option<Duration>,
}

/// Which workflows to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Which: status = ERROR AND definition = "order-processing" AND created_at > "-24h"
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// How many a page holds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) page_size: Option<u32>,
    /// Go on where an earlier page ended
    #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
    pub(crate) page_token: Option<String>,
    /// All pages
    #[arg(long)]
    pub(crate) all: bool,
}

/// By what workflows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CountBy {
    /// By status
    #[default]
    Status,
    /// By definition
    Definition,
}

/// One workflow, or all that fit a filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct BulkArgs {
    /// The workflow
    #[arg(required_unless_present = "filter")]
    pub(crate) id: Option<String>,
    /// Instead of one: all that fit now, after a confirmation
    #[arg(long, conflicts_with = "id")]
    pub(crate) filter: Option<String>,
    /// Don't ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Workflows, and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) which: BulkArgs,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// Workflows, and why: it has to be said.
#[derive(Debug, Clone, Args)]
pub(crate) struct TerminateArgs {
    #[command(flatten)]
    pub(crate) which: BulkArgs,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
}

/// A step of a workflow.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The workflow
    pub(crate) id: String,
    /// The step's name
    pub(crate) step: String,
}

/// A step of a workflow, and why: it has to be said.
#[derive(Debug, Args)]
pub(crate) struct StepReasonArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE".to_owned()),
    }
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}
