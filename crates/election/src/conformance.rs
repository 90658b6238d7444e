//! The conformance cases, one array that every adapter runs as a whole.
//!
//! A case opens its own elections through a [`Factory`] and describes a violation in a sentence.

mod concurrency;
mod expect;
mod observation;
mod stale;
mod terms;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Election;

pub use stale::{StalledLeader, StalledProcess};

/// The time limit of a case.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// A boxed future, for tables of cases.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The result of a case, with a description of the violation.
pub type CaseResult = Result<(), String>;

/// Opens elections of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// Opens an election that is independent of all earlier ones.
    ///
    /// # Errors
    /// Returns the reason if the election cannot be opened.
    async fn open(&self) -> Result<Arc<dyn Election>, String>;

    /// Creates a leader of `name` that was stalled for longer than its lease. The default is a leader that was asked to step
    /// down and has not checked, because elections within one process have no lease.
    ///
    /// # Errors
    /// Returns the reason if the leader cannot be created.
    /// Why there is none.
    async fn stalled_leader(&self, name: &str) -> Result<StalledLeader, String> {
        let election = self.open().await?;
        let term = election.campaign(name, "asleep").await.map_err(|error| format!("campaign: {error}"))?;
        election.step_down(name).await.map_err(|error| format!("step_down: {error}"))?;
        Ok(StalledLeader { token: term.token(), election, process: None })
    }

    /// The time limit of a change of leader.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A guarantee with its check.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The guarantee.
    pub name: &'static str,
    /// Checks the guarantee with a new election.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<CaseResult>,
}

impl Case {
    /// Checks the guarantee. A case that exceeds the time limit counts as a violation.
    ///
    /// # Errors
    /// Returns the violation.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> CaseResult {
        match tokio::time::timeout(CASE_LIMIT, (self.run)(factory)).await {
            Ok(result) => result,
            Err(_) => Err(format!("the case did not end within {} s", CASE_LIMIT.as_secs())),
        }
    }
}

/// All cases.
pub const CASES: &[Case] = &[
    Case { name: "one_candidate_leads_at_a_time", run: |f| Box::pin(concurrency::one_at_a_time(f)) },
    Case { name: "hundred_candidates_lead_once_each", run: |f| Box::pin(concurrency::each_once(f)) },
    Case { name: "tokens_increase", run: |f| Box::pin(terms::tokens_increase(f)) },
    Case { name: "term_lasts_until_it_ends", run: |f| Box::pin(terms::lasts_until_end(f)) },
    Case { name: "resigning_hands_over", run: |f| Box::pin(terms::resign(f)) },
    Case { name: "dropping_hands_over", run: |f| Box::pin(terms::drop_term(f)) },
    Case { name: "stepping_down_hands_over", run: |f| Box::pin(terms::step_down(f)) },
    Case { name: "old_term_cannot_end_a_new_one", run: |f| Box::pin(terms::old_and_new(f)) },
    Case { name: "cancelled_campaign_leaves_nothing_behind", run: |f| Box::pin(terms::cancelled(f)) },
    Case { name: "names_are_independent", run: |f| Box::pin(observation::names(f)) },
    Case { name: "stale_write_is_refused", run: |f| Box::pin(stale::refused(f)) },
    Case { name: "leaders_are_observed_and_listed", run: |f| Box::pin(observation::observed(f)) },
];
