//! The arguments of `goconductor batch`.

use crate::complete;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

/// Commands for batches.
#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    /// Apply an operation to all workflows that match a filter now, after a confirmation
    Create(CreateBatchArgs),
    /// List batches, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show a batch with the numbers of its results
    #[command(visible_alias = "describe")]
    Get {
        /// Id of the batch
        #[arg(add = ArgValueCandidates::new(complete::batches))]
        id: String,
    },
    /// List the workflows of a batch with their results
    Items {
        /// Id of the batch
        #[arg(add = ArgValueCandidates::new(complete::batches))]
        id: String,
        /// Status of the workflows in the batch (default: all)
        #[arg(long, value_enum)]
        status: Option<ItemStatus>,
        /// Number of workflows per page
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        page_size: u32,
        /// Token of the next page, as printed with the previous page
        #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
        page_token: Option<String>,
        /// List all pages
        #[arg(long)]
        all: bool,
    },
    /// Pause a batch; operations in flight end
    Pause(ControlBatchArgs),
    /// Resume a paused batch
    Resume(ControlBatchArgs),
    /// Cancel a batch; operations that were applied are not undone
    Cancel(ControlBatchArgs),
    /// Show the progress of a batch until it ends
    Watch {
        /// Id of the batch
        #[arg(add = ArgValueCandidates::new(complete::batches))]
        id: String,
    },
}

/// Arguments of `goconductor batch create`.
#[derive(Debug, Args)]
pub(crate) struct CreateBatchArgs {
    /// Operation to apply
    #[arg(value_enum)]
    pub(crate) operation: BulkVerb,
    /// Filter, such as: status = ERROR AND definition = "order-processing"
    #[arg(long)]
    pub(crate) filter: String,
    /// Reason, recorded in the history of each workflow
    #[arg(long)]
    pub(crate) reason: String,
    /// Step to retry or to skip (default for retry: each step that needs an operator)
    #[arg(long)]
    pub(crate) step: Option<String>,
    /// Number of workflows that must match (default: the number that is confirmed)
    #[arg(long, value_name = "N")]
    pub(crate) expect: Option<u64>,
    /// Maximum number of operations per second (default: chosen by the server)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: Option<u32>,
    /// Skip the confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Return once the batch is created, without waiting for its end
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// A batch, with an optional reason.
#[derive(Debug, Args)]
pub(crate) struct ControlBatchArgs {
    /// Id of the batch
    #[arg(add = ArgValueCandidates::new(complete::batches))]
    pub(crate) id: String,
    /// Reason, recorded in the audit log
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// The operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BulkVerb {
    /// Retry steps
    Retry,
    /// Cancel workflows: compensate their completed steps
    Cancel,
    /// Pause workflows
    Pause,
    /// Resume paused workflows
    Resume,
    /// Skip a step
    Skip,
    /// Terminate workflows without compensation
    Terminate,
}

impl BulkVerb {
    /// Returns the name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::Terminate => "terminate",
        }
    }

    /// Returns the past participle for messages: "3 workflows will be …".
    pub(crate) fn participle(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Cancel => "cancelled",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Skip => "changed by skipping a step",
            Self::Terminate => "terminated without compensation",
        }
    }
}

/// The status of a workflow in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ItemStatus {
    /// The operation has not been applied yet
    Pending,
    /// The operation is being applied
    Started,
    /// The operation was applied
    Done,
    /// The status of the workflow did not allow the operation
    Refused,
    /// The operation failed for another reason
    Failed,
}

impl ItemStatus {
    /// Returns the name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Done => "DONE",
            Self::Refused => "REFUSED",
            Self::Failed => "FAILED",
        }
    }
}
