//! Turns news about a workflow into a committed transition and published commands.
//!
//! Whoever has the news (the gateway: a start, a cancel; an executor: an attempt ended; the duty
//! runner: a timer is due) hands it to the [`Engine`] of its own process. The engine loads,
//! decides, commits against `seq`, decides again if it lost the race, and only then publishes the
//! commands that were issued. There is one in each process and none is special.
//!
//! It deliberately knows no transport and no participant, and keeps nothing that it could not lose.
//!
//! Invariants: nothing is published but after the commit that issued it; what is not published is in
//! the ledger; news of one workflow that waits together is decided in order and committed as one.

mod cache;
pub mod clock;
mod command;
mod digest;
mod engine;
mod error;
mod timer_notifier;

pub use command::{COMMAND_FORMAT, Command, topic_of};
pub use engine::{Engine, LocalDispatch, Settings, StartRequest, Started};
pub use error::Error;
pub use timer_notifier::TimerNotifier;
