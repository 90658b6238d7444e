//! The cases that every adapter runs: one array, so that none can be left out.
//!
//! A case opens elections of its own through a [`Factory`], and gives a sentence that says what it found.

mod crowd;
mod expect;
mod records;
mod stale;
mod terms;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Election;

pub use stale::{HeldUp, Sleeper};

/// A case that is not through by then hangs.
const CASE_LIMIT: Duration = Duration::from_secs(120);

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

    /// A leader of `name` who was held up past its lease; by default one who was told to step down and has not
    /// looked, as there is no lease where everybody stands in one process.
    ///
    /// # Errors
    /// Why there is none.
    async fn held_up(&self, name: &str) -> Result<HeldUp, String> {
        let election = self.open().await?;
        let term = election.campaign(name, "asleep").await.map_err(|error| format!("campaign: {error}"))?;
        election.step_down(name).await.map_err(|error| format!("step_down: {error}"))?;
        Ok(HeldUp { token: term.token(), election, sleeper: None })
    }

    /// How long a change of leader may take before it counts as not happening.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    /// Checks it, on an election of its own.
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
    Case { name: "one_leads_at_a_time", run: |f| Box::pin(crowd::one_at_a_time(f)) },
    Case { name: "a_hundred_candidates_lead_once_each", run: |f| Box::pin(crowd::each_once(f)) },
    Case { name: "tokens_rise", run: |f| Box::pin(terms::tokens_rise(f)) },
    Case { name: "a_term_lasts_until_it_ends", run: |f| Box::pin(terms::lasts(f)) },
    Case { name: "resigning_hands_over", run: |f| Box::pin(terms::resign(f)) },
    Case { name: "dropping_hands_over", run: |f| Box::pin(terms::drop_it(f)) },
    Case { name: "stepping_down_hands_over", run: |f| Box::pin(terms::step_down(f)) },
    Case { name: "an_old_term_can_t_end_a_new_one", run: |f| Box::pin(terms::old_and_new(f)) },
    Case { name: "a_cancelled_campaign_leaves_nothing_behind", run: |f| Box::pin(terms::cancelled(f)) },
    Case { name: "names_are_independent", run: |f| Box::pin(records::names(f)) },
    Case { name: "a_write_of_one_who_was_replaced_is_refused", run: |f| Box::pin(stale::refused(f)) },
    Case { name: "leaders_are_observed_and_listed", run: |f| Box::pin(records::observed(f)) },
];
