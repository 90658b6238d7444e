//! What the cases are written in: campaigns that have to be won or not, within a limit in time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Factory, Verdict};
use crate::{Election, Error, Leadership};

/// How long nothing has to happen for nothing to be expected any more.
const SILENCE: Duration = Duration::from_millis(100);

/// An election under test.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) election: Arc<dyn Election>,
    pub(super) patience: Duration,
}

impl Bench {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { election: factory.open().await?, patience: factory.patience() })
    }

    /// A campaign that has to be won soon.
    pub(super) async fn wins(&self, name: &str, candidate: &str) -> Result<Leadership, String> {
        let won = tokio::time::timeout(self.patience, self.election.campaign(name, candidate)).await;
        let leadership = won.map_err(|_| format!("{candidate} does not come to lead {name}"))?;
        let leadership = leadership.map_err(unexpected("campaign"))?;
        ensure(leadership.leader().candidate == candidate && leadership.leader().name == name, || {
            format!("{candidate} won {name}, and was given {:?}", leadership.leader())
        })?;
        Ok(leadership)
    }

    /// A campaign that must not be won while somebody leads.
    pub(super) async fn waits(&self, name: &str, candidate: &str) -> Verdict {
        match tokio::time::timeout(SILENCE, self.election.campaign(name, candidate)).await {
            Err(_) => Ok(()),
            Ok(Ok(_)) => Err(format!("{candidate} leads {name} beside another")),
            Ok(Err(error)) => Err(unexpected("campaign")(error)),
        }
    }

    /// The end of a term has to be told.
    pub(super) async fn is_told(&self, lost: impl Future<Output = ()> + Send, when: &str) -> Verdict {
        let told = tokio::time::timeout(self.patience, lost).await;
        told.map_err(|_| format!("{when}, the end of the term is not told"))
    }

    /// Who leads, by observation.
    pub(super) async fn observed(&self, name: &str) -> Result<Option<String>, String> {
        let leader = self.election.observe(name).await.map_err(unexpected("observe"))?;
        Ok(leader.map(|leader| leader.candidate))
    }
}

/// A term must not end by itself.
pub(super) async fn is_kept(leadership: &Leadership) -> Verdict {
    ensure(leadership.is_valid(), || "a term that was just won is not valid".to_owned())?;
    match tokio::time::timeout(SILENCE, leadership.lost()).await {
        Err(_) => ensure(leadership.is_valid(), || "a term ended by itself".to_owned()),
        Ok(()) => Err("a term was told to be lost while it was held".to_owned()),
    }
}

/// Polls a future once, with nobody to wake.
pub(super) fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

pub(super) fn ensure(holds: bool, found: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(found()) }
}

pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {error}")
}
