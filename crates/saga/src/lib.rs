//! The model and the rules of a saga.
//!
//! Three pure functions define everything that a workflow does:
//!
//! * [`decide`] returns the events that follow from an input, or the reason why the input is refused.
//! * [`evolve`] returns the state after an event. A state is the fold of `evolve` over the history.
//! * [`owed`] returns the commands and timers that a state still owes. The dispatch ledger equals it.
//!
//! Normal operation and recovery use the same three functions, so there is no second set of rules.
//!
//! The crate does no IO and uses no async code, no clock, no randomness and no hash map. Time is a parameter,
//! jitter is derived from the ids, and expressions are evaluated through the trait [`Expressions`].
//!
//! Invariants:
//!
//! * Events are numbered from 1 without gaps.
//! * No event follows a final status. The only exceptions are the rollback of a completed workflow that has no completed
//!   pivot, which an operator or the parent requests, and a re-run, which an operator requests.
//! * No execute command is issued once a rollback has begun.
//! * A compensation is issued only when every step downstream of it has settled and, where necessary, has been
//!   compensated.
#![no_std]

extern crate alloc;

mod action;
mod call;
mod child;
mod child_id;
mod decide;
mod definition;
mod elements;
mod event;
mod evolve;
mod expression;
mod failure;
mod for_each;
mod generation;
mod graph;
mod id;
mod idempotency_key;
mod json;
mod labels;
mod limits;
mod lock;
mod lock_claims;
mod name;
mod number;
mod owed;
mod parent;
mod payload;
mod policy;
mod present;
mod progress;
mod rerun;
mod retry;
mod rollback_cause;
mod rules;
mod signal;
mod state;
mod template;
mod text;
mod time;
mod timeouts;
mod trace_context;
mod transition;
mod undo_order;
mod wait;
mod wait_end;

pub use action::{Action, Compensation};
pub use call::{CALL_OPERATION, CALLS_SERVICE, Call, GrpcCall, HttpCall};
pub use child::{Child, ChildEnd, MAX_CHILD_DEPTH, OnParentClose, child_key};
pub use decide::{
    Input, MigrateWorkflow, MigrationChanges, Outcome, Refusal, RerunRefusal, StartChild, StartWorkflow,
    decide, migrate, start, start_by, start_child,
};
pub use definition::{Condition, DEFINITION_FORMAT, Definition, Join, Kind, Step};
pub use elements::{DEFAULT_MAX_PARALLEL, ElementScope, Elements, ForEach, MAX_ELEMENTS};
pub use event::{Event, EventKind};
pub use evolve::evolve;
pub use expression::{ElementExpressions, ExpressionError, Expressions, PayloadRoot, Scope, StepView};
pub use failure::Failure;
pub use graph::{GraphError, Plan};
pub use id::{OwedKey, Side, StepIndex, TimerKind, WorkflowId};
pub use idempotency_key::{MAX_KEY_CHARS, is_idempotency_key};
pub use json::{JsonError, JsonErrorKind, json_bytes, parse_json};
pub use labels::{LabelsError, MAX_LABEL_CHARS, MAX_LABELS, check_labels};
pub use lock::{KeyLock, LockScope, LockSpec, LockState};
pub use lock_claims::{LockClaim, LockRelease, claims};
pub use name::{
    LockKey, MAX_LABEL_BYTES, MAX_LOCK_KEY_CHARS, MAX_TEXT_CHARS, NameError, NameKind, Namespace, ServiceName,
};
pub use number::keeps_number;
pub use owed::{Due, Owed, owed};
pub use parent::Parent;
pub use payload::{PayloadDigest, PayloadRef, PayloadSource};
pub use policy::{FailurePolicy, OnError, OnUnknown, RollbackOrder, RollbackPolicy};
pub use progress::{Progress, Running};
pub use rerun::RerunState;
pub use retry::{Backoff, Retry};
pub use rollback_cause::RollbackCause;
pub use rules::RulesVersion;
pub use signal::{KeptSignal, MAX_KEPT_SIGNALS, MAX_SIGNAL_BYTES, Signals};
pub use state::{Phase, STATE_FORMAT, State, Status, StepState, StepStatus};
pub use template::{Template, TextPart};
pub use text::{EncodingError, decode_text, end_position, shortened, without_utf8_mark};
pub use time::{Timestamp, millis};
pub use timeouts::{CompensationLimits, Timeouts};
pub use trace_context::TraceContext;
pub use transition::{LedgerChange, Transition, migrating_transition, transition};
pub use wait::{OnTimeout, WaitTime};

/// A JSON value that a workflow carries: an input, an output or a mapped value.
pub type Json = serde_json::Value;
