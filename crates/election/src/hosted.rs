//! Candidacies and terms that are held for those who are elsewhere, each for as long as somebody listens.

use crate::{Election, Error, Leader, Leadership};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// How often a candidate is told that it goes on.
const BEAT: Duration = Duration::from_secs(1);
/// What is told and was not heard yet, at most.
const UNHEARD: usize = 4;

/// What a candidate is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The candidacy or the term goes on.
    Beat,
    /// It leads. When there is no more to be told, it does no longer.
    Elected(Leader),
}

/// Why a candidacy or a term is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This process ends.
    Ending,
    /// The election did not do it.
    Failed(Error),
}

/// Tells a term's task to give it up; it answers when that is done.
type Resign = oneshot::Sender<oneshot::Sender<()>>;
type Tell = mpsc::Sender<Result<Told, Refusal>>;

/// Candidacies and terms that are held for others.
#[derive(Debug)]
pub struct Hosted {
    election: Arc<dyn Election>,
    terms: Mutex<BTreeMap<(String, u64), Resign>>,
}

impl Hosted {
    /// None yet.
    #[must_use]
    pub fn new(election: Arc<dyn Election>) -> Arc<Self> {
        Arc::new(Self { election, terms: Mutex::default() })
    }

    /// The election.
    #[must_use]
    pub fn election(&self) -> &Arc<dyn Election> {
        &self.election
    }

    /// Stands for somebody, for as long as what is returned is held and until `stop`.
    pub fn stand(
        self: &Arc<Self>,
        name: String,
        candidate: String,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> mpsc::Receiver<Result<Told, Refusal>> {
        let (tell, told) = mpsc::channel(UNHEARD);
        let this = Arc::clone(self);
        drop(tokio::spawn(async move {
            tokio::pin!(stop);
            this.lead(name, candidate, &tell, stop).await;
        }));
        told
    }

    /// Gives up a term that is held here, and waits until another can have it; false: it is not.
    pub async fn resign(&self, name: String, token: u64) -> bool {
        let Some(resign) = self.terms().remove(&(name, token)) else { return false };
        let (answer, answered) = oneshot::channel();
        resign.send(answer).is_ok() && answered.await.is_ok()
    }

    /// One candidacy, from its beginning to the end of its term.
    async fn lead(
        &self,
        name: String,
        candidate: String,
        tell: &Tell,
        mut stop: impl Future<Output = ()> + Send + Unpin,
    ) {
        let Some(leadership) = self.win(&name, &candidate, tell, &mut stop).await else { return };
        let token = leadership.token().0;
        let (resign, asked) = oneshot::channel();
        self.terms().insert((name.clone(), token), resign);
        if tell.send(Ok(Told::Elected(leadership.leader().clone()))).await.is_ok() {
            hold(leadership, asked, tell, &mut stop).await;
        } else {
            drop(leadership);
        }
        self.terms().remove(&(name, token));
    }

    /// Waits until the candidate leads; none: it does not want to any more, or can't.
    async fn win(
        &self,
        name: &str,
        candidate: &str,
        tell: &Tell,
        stop: &mut (impl Future<Output = ()> + Send + Unpin),
    ) -> Option<Leadership> {
        let campaign = self.election.campaign(name, candidate);
        tokio::pin!(campaign);
        let mut beats = tokio::time::interval(BEAT);
        loop {
            // Safe to cancel: a campaign that is dropped leaves nothing behind.
            let refusal = tokio::select! {
                won = &mut campaign => match won {
                    Ok(leadership) => return Some(leadership),
                    Err(error) => Refusal::Failed(error),
                },
                () = tell.closed() => return None,
                () = &mut *stop => Refusal::Ending,
                _ = beats.tick() => {
                    if !beat(tell) {
                        return None;
                    }
                    continue;
                }
            };
            // Who stood may have gone.
            drop(tell.send(Err(refusal)).await);
            return None;
        }
    }

    fn terms(&self) -> MutexGuard<'_, BTreeMap<(String, u64), Resign>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that it goes on; false: nobody listens. Who has not heard the last beats needs no further one, and is
/// not waited for: the end of the term would be missed.
fn beat(tell: &Tell) -> bool {
    !matches!(tell.try_send(Ok(Told::Beat)), Err(TrySendError::Closed(_)))
}

/// Until the term ends, in any way.
async fn hold(
    leadership: Leadership,
    asked: oneshot::Receiver<oneshot::Sender<()>>,
    tell: &Tell,
    stop: &mut (impl Future<Output = ()> + Send + Unpin),
) {
    let lost = leadership.lost();
    tokio::pin!(lost, asked);
    let mut beats = tokio::time::interval(BEAT);
    let answer = loop {
        // Safe to cancel: what is waited for stays as it is.
        tokio::select! {
            // There is no more to be told: the term has ended.
            () = &mut lost => return,
            () = tell.closed() => break None,
            () = &mut *stop => {
                drop(tell.send(Err(Refusal::Ending)).await);
                break None;
            }
            answer = &mut asked => break answer.ok(),
            _ = beats.tick() => {
                if !beat(tell) {
                    break None;
                }
            }
        }
    };
    if let Err(error) = leadership.resign().await {
        tracing::debug!(%error, "the lease runs out by itself");
    }
    if answer.is_some_and(|answer| answer.send(()).is_err()) {
        tracing::trace!("who asked for the end of the term has gone");
    }
}
