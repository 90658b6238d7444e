//! Sagas from Rust: start them, and take part in them.
//!
//! A [`Workflow`] whose steps are closures runs in one program:
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
//! A microservice of its own is a [`Service`] of typed actions, each with its compensation, carried out over
//! a stream to the executors ([`Conductor::serve`]) or with the executor inside the microservice
//! ([`embedded`]). What an action did is said by its result, and what went wrong by a [`Failure`], which has
//! one variant for each thing that the saga does about it.
//!
//! An action may be asked for more than once with the same [`Context::key`]: [`inbox`] remembers, in the
//! microservice's own database transaction, what was done.
//!
//! The crate deliberately decides nothing about a workflow: that is done where its state is committed.

mod conductor;
mod context;
#[cfg(feature = "embedded")]
pub mod embedded;
mod failure;
mod handle;
mod handlers;
mod lock;
mod service;
mod worker;
mod workflow;

pub use conductor::{Conductor, Start};
pub use context::{Context, Operation};
pub use failure::{Error, Failure};
pub use goconductor_client::{Lock, Status};
pub use goconductor_inbox as inbox;
pub use handle::{Ended, Handle};
pub use lock::Held;
pub use service::{Service, Undo};
pub use worker::Serving;
pub use workflow::{StepContext, Workflow, WorkflowStep};
