//! The words and the rules of a saga.
//!
//! Three pure functions say everything that a workflow does:
//!
//! * [`decide`]: what follows from some news, as events, or why it is refused;
//! * [`evolve`]: the state after an event; a state is the fold of `evolve` over the history;
//! * [`owed`]: the commands and timers that a state still owes; the dispatch ledger equals it.
//!
//! Live running and recovery go through the same three, so there is no second set of rules.
//!
//! The crate deliberately knows no IO, no async, no clock, no randomness and no hash order: time is
//! a parameter, jitter is drawn from the ids, expressions come in through [`Expressions`].
//!
//! Invariants: events are numbered from 1 without a gap; nothing follows a final status; no execute
//! command is issued once a roll-back has begun; a compensation is issued only when all that depends
//! on its step is settled and undone.
#![no_std]

extern crate alloc;

mod decide;
mod definition;
mod event;
mod evolve;
mod expression;
mod graph;
mod id;
mod limits;
mod name;
mod owed;
mod retry;
mod state;
mod time;
mod transition;

pub use decide::{Input, Outcome, Refusal, StartWorkflow, decide, start};
pub use definition::{
    Action, Compensation, Condition, DEFINITION_FORMAT, Definition, Join, Kind, Step, Timeouts,
};
pub use event::{Event, EventKind, RollbackCause};
pub use evolve::evolve;
pub use expression::{ExpressionError, Expressions, Scope, StepView, Template, TextPart};
pub use graph::{GraphError, Plan};
pub use id::{OwedKey, Side, StepIndex, TimerKind, WorkflowId};
pub use name::{
    LockKey, MAX_LABEL_BYTES, MAX_LOCK_KEY_BYTES, MAX_TEXT_BYTES, NameError, NameKind, Namespace, ServiceName,
};
pub use owed::{Due, Owed, owed};
pub use retry::{Backoff, Retry};
pub use state::{Failure, Phase, Progress, Running, STATE_FORMAT, State, Status, StepState, StepStatus};
pub use time::{Timestamp, millis};
pub use transition::{LedgerChange, Transition, transition};

/// The JSON that workflows carry: inputs, outputs, mapped values.
pub type Json = serde_json::Value;
