//! REST for people and clients.
//!
//! [`router`] is the whole surface; [`serve`] holds it on a listener until it is told to end.
//!
//! The gateway deliberately decides nothing about a workflow: it reads what people send, hands it to the
//! [`Conductor`], and shows what is stored.
//!
//! Invariants: no input makes a 5xx or a panic; every refusal is `application/problem+json` with a stable
//! code that has a page; an answer that says that something was done is given once it is durable.

mod error;

use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::Metrics;
use goconductor_store::Seen;
use goconductor_transition::Conductor;
use std::sync::Arc;
use tokio::sync::broadcast;

/// What the gateway stands on.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Starts workflows, hands in news, reads.
    pub conductor: Arc<Conductor>,
    /// Every durable change that this process writes, as it is written; others' are polled for.
    pub changes: broadcast::Sender<Seen>,
    /// How much one call may bring and take.
    pub limits: Limits,
    /// What `/readyz` asks.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

/// How much one call may bring and take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How deeply a JSON body is nested.
    pub json_depth: usize,
    /// Bytes of a workflow's input, as JSON.
    pub input_bytes: usize,
    /// Elements of a page, unless it is asked for otherwise.
    pub page_size: u32,
}
