//! Inputs of workflows, turned into committed transitions and published commands.
//!
//! A component that has an input hands it to the [`Engine`] of its own process. The gateway has starts and cancels,
//! an executor has outcomes of attempts, and the dispatcher has timers that are due. The engine loads the state,
//! decides, commits against `seq`, retries on a conflict, and only then publishes the commands that were issued.
//! Each process has one engine, and all engines are equal.
//!
//! The crate knows no transport and no participant, and it keeps nothing that must survive a restart.
//!
//! Invariants:
//!
//! * A command is published only after the commit that issued it.
//! * A command that is not published is in the ledger.
//! * Pending inputs of one workflow are decided in order and committed as one transition.

mod cache;
pub mod clock;
mod command;
mod digest;
mod engine;
mod error;
mod long_work;
pub mod metrics;
mod payload_memory;
mod payload_slot;
mod payload_values;
mod payloads;
mod pending;
mod timer_notifier;
pub mod trace;

pub use command::{COMMAND_FORMAT, Command, topic_of};
pub use engine::{Engine, LocalDispatch, Migrated, Settings, StartRequest, Started};
pub use error::Error;
pub use long_work::{LongWork, LongWorkThread};
pub use payload_slot::{LARGE_PAYLOAD_BYTES, PayloadSlot};
pub use payloads::{PayloadKeys, without_payload};
pub use timer_notifier::TimerNotifier;
