//! The arguments of `goconductor workflow`.

use super::repair::{RerunArgs, WorkflowMigrateArgs};
use crate::complete;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;
use goconductor_service_kit::duration;
use std::time::Duration;

/// Commands for workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Start a workflow
    Start(StartArgs),
    /// List workflows, newest first
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Count workflows
    Count {
        /// Field to group by
        #[arg(long, value_enum, default_value_t)]
        by: GroupingField,
        /// Filter, such as: status = ERROR AND definition = "order-processing" (default: all)
        #[arg(long)]
        filter: Option<String>,
    },
    /// Show a workflow, its timeline and what it is waiting for
    #[command(visible_alias = "get")]
    Describe {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
    },
    /// Show the event history of a workflow
    History {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
        /// Follow new events until the workflow ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Show a workflow live until it ends; the exit code reports the outcome
    Watch {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
    },
    /// Show the result of a workflow; the exit code reports the outcome
    Result {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
        /// Maximum time to wait for the end, such as 30s (default: do not wait)
        #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
        wait: Option<Duration>,
    },
    /// Print a large input or output of a workflow as JSON
    Payload {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
        /// Digest of the payload: sha256 of its reference in the output of describe -o json
        sha256: String,
    },
    /// Cancel workflows: compensate their completed steps
    Cancel(CancelArgs),
    /// Compensate a completed workflow
    Compensate {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::workflows))]
        id: String,
        /// Reason, recorded in the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Re-run an ended workflow from a step: compensate its effects first, then execute it again
    Rerun(RerunArgs),
    /// Migrate a running workflow to another version of its definition
    Migrate(WorkflowMigrateArgs),
    /// Terminate workflows without compensation
    Terminate(TerminateArgs),
    /// Pause workflows: start no further steps
    Pause(CancelArgs),
    /// Resume paused workflows
    Resume(CancelArgs),
    /// Send a signal to a workflow
    Signal {
        /// Id of the workflow
        #[arg(add = ArgValueCandidates::new(complete::active_workflows))]
        id: String,
        /// Name of the signal
        name: String,
        /// Payload of the signal: JSON, @FILE, or - for standard input (default: null)
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        /// Idempotency key; a repeated signal with the same key changes nothing
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Retry a step now; during a rollback, its compensation
    Retry {
        #[command(flatten)]
        which: BulkStepArgs,
        /// Reason, recorded in the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Skip a step; during a rollback, its compensation
    Skip {
        #[command(flatten)]
        which: BulkStepArgs,
        /// Reason, recorded in the history
        #[arg(long)]
        reason: String,
    },
    /// Complete a step by hand; during a rollback, its compensation
    Complete {
        #[command(flatten)]
        step: StepReasonArgs,
        /// Result of the step: JSON, @FILE, or - for standard input (default: null)
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
    },
}

/// Arguments of `goconductor workflow start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Name of the definition
    #[arg(add = ArgValueCandidates::new(complete::definitions))]
    pub(crate) definition: String,
    /// Input of the workflow: JSON, @FILE, or - for standard input (default: {})
    #[arg(long, short, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// Idempotency key; a repeated start with the same key returns the existing workflow
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Version of the definition (default: the newest)
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u32>,
    /// Label to filter by; can be repeated
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Wait for the end; the exit code reports the outcome
    #[arg(long)]
    pub(crate) wait: bool,
    /// Maximum time to wait, such as 60s (default: unlimited)
    #[arg(long, requires = "wait", value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) timeout: Option<Duration>,
}

/// Arguments of `goconductor workflow list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Filter, such as: status = ERROR AND created_at > "-24h" (default: all)
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Number of workflows per page (default: chosen by the server)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) page_size: Option<u32>,
    /// Token of the next page, as printed with the previous page
    #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
    pub(crate) page_token: Option<String>,
    /// List all pages
    #[arg(long)]
    pub(crate) all: bool,
}

/// The field by which workflows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum GroupingField {
    /// Count by status
    #[default]
    Status,
    /// Count by definition
    Definition,
    /// Count by the code of the error
    #[value(alias = "error_code")]
    ErrorCode,
}

/// One workflow, or all that match a filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct BulkArgs {
    /// Id of the workflow
    #[arg(required_unless_present = "filter", add = ArgValueCandidates::new(complete::active_workflows))]
    pub(crate) id: Option<String>,
    /// Select all workflows that match a filter now, after a confirmation
    #[arg(long, conflicts_with = "id")]
    pub(crate) filter: Option<String>,
    /// Skip the confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Workflows, with an optional reason.
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) which: BulkArgs,
    /// Reason, recorded in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// Workflows, with a required reason.
#[derive(Debug, Clone, Args)]
pub(crate) struct TerminateArgs {
    #[command(flatten)]
    pub(crate) which: BulkArgs,
    /// Reason, recorded in the history
    #[arg(long)]
    pub(crate) reason: String,
}

/// A step of a workflow, or of all workflows that match a filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct BulkStepArgs {
    /// Id of the workflow
    #[arg(required_unless_present = "filter", add = ArgValueCandidates::new(complete::active_workflows))]
    pub(crate) id: Option<String>,
    /// Name of the step
    #[arg(required_unless_present = "filter", add = ArgValueCandidates::new(complete::steps))]
    pub(crate) step: Option<String>,
    /// Select all workflows that match a filter now, after a confirmation
    #[arg(long, conflicts_with_all = ["id", "step"])]
    pub(crate) filter: Option<String>,
    /// Name of the step in all these workflows (default for retry: each step that needs an operator)
    #[arg(long = "step", value_name = "STEP", requires = "filter")]
    pub(crate) of_step: Option<String>,
    /// Skip the confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// A step of a workflow.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// Id of the workflow
    #[arg(add = ArgValueCandidates::new(complete::active_workflows))]
    pub(crate) id: String,
    /// Name of the step
    #[arg(add = ArgValueCandidates::new(complete::steps))]
    pub(crate) step: String,
}

/// A step of a workflow, with a required reason.
#[derive(Debug, Args)]
pub(crate) struct StepReasonArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Reason, recorded in the history
    #[arg(long)]
    pub(crate) reason: String,
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
