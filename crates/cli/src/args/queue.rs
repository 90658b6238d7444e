//! `goconductor queue …`

use clap::Subcommand;
use std::time::Duration;

/// What to do with queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List what waits, for each service of all namespaces
    List,
    /// Show which queue is in use, and how far a move to another one is
    Status,
    /// Move all processes to another queue while they run; to name the one that is being left turns a move back
    Switch {
        /// kafka, kinesis, nats, rabbitmq
        #[arg(value_name = "QUEUE")]
        to: String,
        /// Wait until all have moved
        #[arg(long)]
        wait: bool,
        /// How long to wait at most, such as 5m
        #[arg(long, value_name = "DURATION", requires = "wait", value_parser = super::workflow::span)]
        timeout: Option<Duration>,
    },
}
