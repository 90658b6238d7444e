//! The arguments of `goconductor queue`.

use clap::Subcommand;
use goconductor_service_kit::duration;
use std::time::Duration;

/// Commands for queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the backlog of each service in all namespaces
    #[command(visible_alias = "ls")]
    List,
    /// Show the current queue and the progress of a migration
    Status,
    /// Migrate all processes to another queue without downtime; naming the current queue reverts a migration
    Switch {
        /// Queue to migrate to: kafka, kinesis, nats or rabbitmq
        #[arg(value_name = "QUEUE")]
        to: String,
        /// Wait until the migration has finished
        #[arg(long)]
        wait: bool,
        /// Maximum time to wait, such as 5m (default: unlimited)
        #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration::parse)]
        timeout: Option<Duration>,
    },
}
