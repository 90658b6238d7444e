//! The arguments of `goconductor workflow rerun` and `goconductor workflow migrate`.

use crate::complete;
use clap::Args;
use clap_complete::ArgValueCandidates;

/// The arguments of `goconductor workflow rerun`.
#[derive(Debug, Args)]
pub(crate) struct RerunArgs {
    /// Id of the workflow
    #[arg(add = ArgValueCandidates::new(complete::workflows))]
    pub(crate) id: String,
    /// Step to begin with (default: all steps)
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Option<String>,
    /// State that the effects of the steps stay: do not compensate them first
    #[arg(long)]
    pub(crate) keep_effects: bool,
    /// Reason, recorded in the history
    #[arg(long)]
    pub(crate) reason: String,
}

/// The arguments of `goconductor workflow migrate`.
#[derive(Debug, Args)]
pub(crate) struct WorkflowMigrateArgs {
    /// Id of the workflow
    #[arg(add = ArgValueCandidates::new(complete::active_workflows))]
    pub(crate) id: String,
    /// Version of the definition
    #[arg(long, value_name = "N")]
    pub(crate) to_version: u32,
    /// Only check whether the workflow can follow the version
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Reason, recorded in the history
    #[arg(long)]
    pub(crate) reason: Option<String>,
}
