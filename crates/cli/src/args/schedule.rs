//! The arguments of `goconductor schedule`.

use super::path_segment;
use super::workflow::label;
use crate::complete;
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

/// Commands for schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Create or replace a schedule
    Apply(Box<ScheduleApplyArgs>),
    /// List schedules in the order of their names
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show a schedule and its last workflows
    #[command(visible_alias = "describe")]
    Get {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
    },
    /// Delete a schedule; its workflows continue
    Delete {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
    },
    /// Pause a schedule; due times during the pause are skipped
    Pause {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
        /// Reason
        #[arg(long)]
        reason: Option<String>,
    },
    /// Resume a paused schedule
    Resume {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
        /// Reason
        #[arg(long)]
        reason: Option<String>,
    },
    /// Start a workflow of a schedule now, also while it is paused
    Trigger {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
    },
    /// Start the due times of a past range
    Backfill {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
        /// Start of the range, such as 2026-11-30T00:00:00Z
        #[arg(long, value_name = "TIME")]
        from: String,
        /// End of the range, not after now
        #[arg(long, value_name = "TIME")]
        until: String,
    },
    /// Show the next due times of a schedule
    Next {
        /// Name of the schedule
        #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
        name: String,
        /// Number of due times, up to 1000
        #[arg(long, short = 'n', value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
}

/// Arguments of `goconductor schedule apply`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleApplyArgs {
    /// Name of the schedule
    #[arg(value_parser = path_segment, add = ArgValueCandidates::new(complete::schedules))]
    pub(crate) name: String,
    /// Definition of the workflows (default: the definition with the name of the schedule)
    #[arg(long, add = ArgValueCandidates::new(complete::definitions))]
    pub(crate) definition: Option<String>,
    /// Version of the definition (default: the newest at each start)
    #[arg(long = "definition-version", value_name = "N")]
    pub(crate) version: Option<u32>,
    /// Cron pattern, such as "30 2 * * *" or @daily
    #[arg(long, value_name = "PATTERN", required_unless_present = "every", conflicts_with = "every")]
    pub(crate) cron: Option<String>,
    /// IANA name of the time zone of the pattern (default: UTC)
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub(crate) timezone: Option<String>,
    /// Interval of at least 1s
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<String>,
    /// A due time of the interval (default: 1970-01-01T00:00:00Z)
    #[arg(long, value_name = "TIME", requires = "every")]
    pub(crate) anchor: Option<String>,
    /// Policy for a due time while a workflow is running (default: skip)
    #[arg(long, value_parser = ["skip", "buffer_one", "allow", "cancel_other"])]
    pub(crate) overlap: Option<String>,
    /// Start due times that were missed if they are not older than this (default: 1h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) catch_up: Option<String>,
    /// Input of the workflows: JSON, @FILE, or - for standard input; ${ schedule.time } stands for the due time
    #[arg(long, short, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// Label of the workflows; can be repeated
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Generation that the schedule must have, 0 for a new one (default: any)
    #[arg(long, value_name = "GENERATION")]
    pub(crate) if_generation: Option<u64>,
}
