//! The cases that every store runs: one array, so that none can be left out.
//!
//! A case opens stores of its own through a [`Factory`], and gives a sentence that says what it found.

mod bench;
mod group;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Store;

/// A case that is not through by then hangs: the longest writes some thousand rows.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// A future that a table can hold.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Kept, or why not.
pub type Verdict = Result<(), String>;

/// Makes stores of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// An empty store that shares nothing with any before it.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self) -> Result<Arc<dyn Store>, String>;

    /// The same store as a new process would find it, once everybody has let go of the one that is given;
    /// the given one itself, if it holds nothing that outlives it.
    ///
    /// # Errors
    /// Why there is none.
    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        Ok(store)
    }
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    /// Checks it, on a store of its own.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<Verdict>,
}

impl Case {
    /// Checks it, and takes a case that hangs for one that found something.
    ///
    /// # Errors
    /// What was found.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> Verdict {
        match tokio::time::timeout(CASE_LIMIT, (self.run)(factory)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("not through after {} s", CASE_LIMIT.as_secs())),
        }
    }
}

/// Every promise.
pub const CASES: &[Case] = &[
    Case { name: "members_of_a_group_are_judged_alone", run: |f| Box::pin(group::judged_alone(f)) },
    Case { name: "a_loser_gets_the_present_state", run: |f| Box::pin(group::loser(f)) },
    Case { name: "a_workflow_may_come_twice_in_a_group", run: |f| Box::pin(group::twice(f)) },
    Case { name: "one_of_many_writers_wins", run: |f| Box::pin(group::one_wins(f)) },
    Case { name: "a_taken_id_is_not_started_again", run: |f| Box::pin(group::taken_id(f)) },
    Case { name: "a_group_may_be_large_or_empty", run: |f| Box::pin(group::sizes(f)) },
];
