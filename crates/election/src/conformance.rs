//! The cases that every adapter runs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Election;

/// A future that a table can hold.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Kept, or why not.
pub type Verdict = Result<(), String>;

/// Makes elections of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// An election that shares nothing with any before it.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self) -> Result<Arc<dyn Election>, String>;
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    /// Checks it, on an election of its own.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<Verdict>,
}

/// Every promise.
pub const CASES: &[Case] = &[];
