//! Migration of all processes from one queue to another while they run.
//!
//! The configuration entry `queue` in the state store holds the [`QueueMigration`]: the queue in use, and the target and
//! phase of a migration. Each process has a [`QueueMigrator`], which polls the entry, routes messages accordingly, and
//! publishes with its membership which revision it has applied. The process that first sees that all have applied a
//! phase starts the next one by compare-and-set. No process is therefore essential to a migration, and a process that
//! starts during one knows its route before it publishes or consumes anything.
//!
//! Until the first migration, the configuration determines the queue. After it, the entry does.
//!
//! Every phase is safe to stay in indefinitely, and safe for processes that observe it late. Messages published to the
//! old queue are consumed as long as any process consumes it, and the dispatch ledger publishes them again after that.
//! The only condition of a phase is therefore that all members have applied the one before.
//!
//! The crate deliberately knows no driver and no configuration file: a [`QueueFactory`] opens queues by name.
//!
//! Invariants: at most one migration is in progress; no process publishes to the new queue before all processes consume
//! it; the old queue is left only when it is empty, or when all processes have lost it.

mod client;
mod migration;
mod migrator;
mod request;
mod served;
mod status;
mod view;

pub use client::QueueClient;
pub use migration::{MigrationPhase, MigrationTarget, QueueMigration};
pub use migrator::{QueueFactory, QueueMigrator};
pub use served::served;
pub use status::{MigrationError, MigrationStatus};
