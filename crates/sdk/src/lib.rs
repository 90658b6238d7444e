//! Start sagas and take part in them, from Rust.
//!
//! The simplest program has a [`Workflow`] whose steps are closures. [`Conductor::start_workflow`] applies its
//! definition, runs its steps in this program and starts it:
//!
//! ```no_run
//! use goconductor::{Conductor, Workflow, WorkflowStep};
//! use serde_json::json;
//!
//! # async fn run() -> Result<(), goconductor::Error> {
//! let conductor = Conductor::connect("http://127.0.0.1:8470")?;
//! let workflow = Workflow::new("Order Processing").step(
//!     WorkflowStep::new("Process Payment")
//!         .execute(|step| async move { Ok(json!({"charged": step.input()["amount"]})) })
//!         .compensate(|_| async move { Ok(json!("refunded")) }),
//! );
//! let order = conductor.start_workflow(&workflow, json!({"amount": 42})).await?;
//! println!("{}", order.result().await?.status);
//! # Ok(())
//! # }
//! ```
//!
//! A microservice is a [`Service`] of typed actions and compensations. [`Conductor::serve`] connects it to the
//! executors as a worker; [`embedded`] runs an executor inside the microservice:
//!
//! ```no_run
//! use goconductor::{CompensationInput, Conductor, Context, ActionError, Service};
//! use serde::{Deserialize, Serialize};
//! use serde_json::{Value, json};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Charge {
//!     order_id: String,
//!     amount: f64,
//! }
//!
//! async fn charge(context: Context, input: Charge) -> Result<Value, ActionError> {
//!     if input.amount > 10_000.0 {
//!         return Err(ActionError::refused("CREDIT_LIMIT", "the amount exceeds the credit limit"));
//!     }
//!     Ok(json!({"payment_id": context.key()}))
//! }
//!
//! async fn refund(_: Context, input: CompensationInput<Charge, Value>) -> Result<Value, ActionError> {
//!     Ok(json!({"refunded": input.input.amount}))
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Service::new("payments").action("charge", charge).compensation("refund", refund);
//! let conductor = Conductor::connect("http://127.0.0.1:8470")?;
//! conductor.serve(service).await?.until_signal().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An action returns its output, or an [`ActionError`] whose variant determines how the saga proceeds. Any other error says
//! nothing about the outcome, and [`ActionError::from_error`] converts it to an unknown outcome.
//!
//! Delivery is at least once: an action may be called again with the same [`Context::key`]. [`inbox`] records what was
//! done in the microservice's own database transaction, so that a repeat has no effect.
//!
//! [`testing`] runs a saga with its real actions in memory, with a virtual clock and injected faults.
//!
//! The crate deliberately decides nothing about a workflow. The decisions are made where its state is committed.

mod conductor;
mod context;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod handle;
mod handlers;
mod list;
mod lock;
mod schedule;
mod service;
mod start;
#[cfg(feature = "test-kit")]
pub mod testing;
mod worker;
mod workflow;

pub use conductor::Conductor;
pub use context::Context;
pub use error::{ActionError, Error, ErrorKind};
pub use goconductor_client::{
    self as client, AppliedDefinition, Event, Listing, Lock, Schedule, ScheduleSpec, Status,
};
pub use goconductor_inbox::{self as inbox, Operation};
pub use goconductor_tls::TlsFiles;
pub use handle::{Handle, WorkflowResult};
pub use list::WorkflowList;
pub use lock::LockGuard;
pub use service::{CompensationInput, ProbeAnswer, Service};
pub use start::Start;
pub use worker::ServiceHandle;
pub use workflow::{StepContext, Workflow, WorkflowStep};

// The names of the previous release, so that its programs still compile.
#[doc(hidden)]
pub use {
    error::ActionError as Failure, handle::WorkflowResult as Ended, lock::LockGuard as Held,
    service::CompensationInput as Undo, worker::ServiceHandle as Serving,
};
