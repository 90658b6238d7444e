//! Expectations of the cases, each with a time limit.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{CaseResult, Factory};
use crate::{Election, Error, Leadership};

/// The time without an event after which none is expected.
const SILENCE: Duration = Duration::from_millis(100);

/// An election under test.
#[derive(Clone)]
pub(super) struct Fixture {
    pub(super) election: Arc<dyn Election>,
    pub(super) time_limit: Duration,
}

impl Fixture {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { election: factory.open().await?, time_limit: factory.time_limit() })
    }

    /// Expects a campaign to be won.
    pub(super) async fn win(&self, name: &str, candidate: &str) -> Result<Leadership, String> {
        let won = tokio::time::timeout(self.time_limit, self.election.campaign(name, candidate)).await;
        let leadership = won.map_err(|_| format!("{candidate} did not win {name}"))?;
        let leadership = leadership.map_err(failed("campaign"))?;
        ensure(leadership.leader().candidate == candidate && leadership.leader().name == name, || {
            format!("{candidate} won {name}, but the leader is {:?}", leadership.leader())
        })?;
        Ok(leadership)
    }

    /// Expects a campaign to wait, because another candidate leads.
    pub(super) async fn expect_wait(&self, name: &str, candidate: &str) -> CaseResult {
        match tokio::time::timeout(SILENCE, self.election.campaign(name, candidate)).await {
            Err(_) => Ok(()),
            Ok(Ok(_)) => Err(format!("{candidate} leads {name} together with another")),
            Ok(Err(error)) => Err(failed("campaign")(error)),
        }
    }

    /// Expects the end of a term to be reported.
    pub(super) async fn expect_end(&self, lost: impl Future<Output = ()> + Send, when: &str) -> CaseResult {
        let ended = tokio::time::timeout(self.time_limit, lost).await;
        ended.map_err(|_| format!("{when}, the end of the term was not reported"))
    }

    /// The leader according to `observe`.
    pub(super) async fn observed(&self, name: &str) -> Result<Option<String>, String> {
        let leader = self.election.observe(name).await.map_err(failed("observe"))?;
        Ok(leader.map(|leader| leader.candidate))
    }
}

/// Expects a term to continue.
pub(super) async fn expect_continuation(leadership: &Leadership) -> CaseResult {
    ensure(leadership.is_valid(), || "a new term is not valid".to_owned())?;
    match tokio::time::timeout(SILENCE, leadership.lost()).await {
        Err(_) => ensure(leadership.is_valid(), || "a term ended without a cause".to_owned()),
        Ok(()) => Err("the end of a term was reported without a cause".to_owned()),
    }
}

/// Polls a future once, without a waker.
pub(super) fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

pub(super) fn ensure(holds: bool, found: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(found()) }
}

pub(super) fn failed(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {error}")
}
