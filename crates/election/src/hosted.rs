//! Campaigns and terms on behalf of remote candidates. Each lasts as long as its receiver is open.

use crate::{Election, Error, Leader, Leadership};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// The interval between heartbeats to a candidate.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Buffered updates of one candidate.
const UPDATE_BUFFER: usize = 4;

/// An update for a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignUpdate {
    /// The campaign or the term continues.
    Heartbeat,
    /// The candidate leads. The end of the channel is the end of the term.
    Elected(Leader),
}

/// The reason for the end of a campaign or a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignError {
    /// This process is shutting down.
    ShuttingDown,
    /// The election failed.
    Failed(Error),
}

/// The terms that the caller of [`Hosted::resign`] may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResignScope<'c> {
    /// All terms.
    All,
    /// The terms whose campaign named this owner.
    Owner(&'c str),
}

/// The outcome of [`Hosted::resign`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resignation {
    /// The term has ended.
    Ended,
    /// The term does not exist.
    Unknown,
    /// The term belongs to another owner. It continues.
    NotOwner,
}

/// Requests the end of a term. The receiver acknowledges the end.
type Resign = oneshot::Sender<oneshot::Sender<()>>;
type UpdateSender = mpsc::Sender<Result<CampaignUpdate, CampaignError>>;

/// A term of a remote candidate.
#[derive(Debug)]
struct HostedTerm {
    owner: Option<String>,
    resign: Resign,
}

/// The campaigns and terms of remote candidates.
#[derive(Debug)]
pub struct Hosted {
    election: Arc<dyn Election>,
    terms: Mutex<BTreeMap<(String, u64), HostedTerm>>,
}

impl Hosted {
    /// Creates an empty set.
    #[must_use]
    pub fn new(election: Arc<dyn Election>) -> Arc<Self> {
        Arc::new(Self { election, terms: Mutex::default() })
    }

    /// The underlying election.
    #[must_use]
    pub fn election(&self) -> &Arc<dyn Election> {
        &self.election
    }

    /// Campaigns for a candidate until the returned receiver is dropped or `stop` resolves. `owner` identifies the
    /// credential that the term belongs to. `None` if callers are not authenticated.
    pub fn campaign(
        self: &Arc<Self>,
        name: String,
        candidate: String,
        owner: Option<String>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> mpsc::Receiver<Result<CampaignUpdate, CampaignError>> {
        let (updates, receiver) = mpsc::channel(UPDATE_BUFFER);
        let this = Arc::clone(self);
        drop(tokio::spawn(async move {
            tokio::pin!(stop);
            this.lead(name, candidate, owner, &updates, stop).await;
        }));
        receiver
    }

    /// Ends a term and waits until another candidate can win.
    pub async fn resign(&self, name: String, token: u64, scope: ResignScope<'_>) -> Resignation {
        let term = match self.take_term((name, token), scope) {
            Ok(term) => term,
            Err(refused) => return refused,
        };
        let (answer, answered) = oneshot::channel();
        if term.resign.send(answer).is_ok() && answered.await.is_ok() {
            Resignation::Ended
        } else {
            Resignation::Unknown
        }
    }

    /// Removes a term that `scope` includes.
    fn take_term(&self, key: (String, u64), scope: ResignScope<'_>) -> Result<HostedTerm, Resignation> {
        let mut terms = self.terms();
        let Some(term) = terms.get(&key) else { return Err(Resignation::Unknown) };
        match scope {
            ResignScope::Owner(owner) if term.owner.as_deref() != Some(owner) => {
                return Err(Resignation::NotOwner);
            }
            ResignScope::Owner(_) | ResignScope::All => {}
        }
        terms.remove(&key).ok_or(Resignation::Unknown)
    }

    /// Runs one campaign and its term.
    async fn lead(
        &self,
        name: String,
        candidate: String,
        owner: Option<String>,
        updates: &UpdateSender,
        mut stop: impl Future<Output = ()> + Send + Unpin,
    ) {
        let Some(leadership) = self.win(&name, &candidate, updates, &mut stop).await else { return };
        let token = leadership.token().0;
        let (resign, asked) = oneshot::channel();
        self.terms().insert((name.clone(), token), HostedTerm { owner, resign });
        if updates.send(Ok(CampaignUpdate::Elected(leadership.leader().clone()))).await.is_ok() {
            await_end(leadership, asked, updates, &mut stop).await;
        } else {
            drop(leadership);
        }
        self.terms().remove(&(name, token));
    }

    /// Waits until the candidate leads. Returns `None` if the candidate disconnected or the campaign failed.
    async fn win(
        &self,
        name: &str,
        candidate: &str,
        updates: &UpdateSender,
        stop: &mut (impl Future<Output = ()> + Send + Unpin),
    ) -> Option<Leadership> {
        let campaign = self.election.campaign(name, candidate);
        tokio::pin!(campaign);
        let mut heartbeats = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            // Safe to cancel: a dropped campaign leaves no candidacy behind.
            let error = tokio::select! {
                won = &mut campaign => match won {
                    Ok(leadership) => return Some(leadership),
                    Err(error) => CampaignError::Failed(error),
                },
                () = updates.closed() => return None,
                () = &mut *stop => CampaignError::ShuttingDown,
                _ = heartbeats.tick() => {
                    if !send_heartbeat(updates) {
                        return None;
                    }
                    continue;
                }
            };
            // The candidate may have disconnected.
            drop(updates.send(Err(error)).await);
            return None;
        }
    }

    fn terms(&self) -> MutexGuard<'_, BTreeMap<(String, u64), HostedTerm>> {
        self.terms.lock()
    }
}

/// Sends a heartbeat. Returns `false` if the receiver was dropped. A full buffer is not awaited, because that would
/// delay the detection of the end of the term.
fn send_heartbeat(updates: &UpdateSender) -> bool {
    !matches!(updates.try_send(Ok(CampaignUpdate::Heartbeat)), Err(TrySendError::Closed(_)))
}

/// Waits for the end of the term, from any cause.
async fn await_end(
    leadership: Leadership,
    asked: oneshot::Receiver<oneshot::Sender<()>>,
    updates: &UpdateSender,
    stop: &mut (impl Future<Output = ()> + Send + Unpin),
) {
    let lost = leadership.lost();
    tokio::pin!(lost, asked);
    let mut heartbeats = tokio::time::interval(HEARTBEAT_INTERVAL);
    let answer = loop {
        // Safe to cancel: all awaited states persist.
        tokio::select! {
            // The end of the channel reports the end of the term.
            () = &mut lost => return,
            () = updates.closed() => break None,
            () = &mut *stop => {
                drop(updates.send(Err(CampaignError::ShuttingDown)).await);
                break None;
            }
            answer = &mut asked => break answer.ok(),
            _ = heartbeats.tick() => {
                if !send_heartbeat(updates) {
                    break None;
                }
            }
        }
    };
    if let Err(error) = leadership.resign().await {
        tracing::debug!(%error, "the term was left to expire with its lease");
    }
    if answer.is_some_and(|answer| answer.send(()).is_err()) {
        tracing::trace!("the caller of resign disconnected");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::LocalElection;

    async fn elected(updates: &mut mpsc::Receiver<Result<CampaignUpdate, CampaignError>>) -> u64 {
        loop {
            if let CampaignUpdate::Elected(leader) = updates.recv().await.unwrap().unwrap() {
                return leader.token.0;
            }
        }
    }

    #[tokio::test]
    async fn term_is_ended_by_its_owner_only() {
        let hosted = Hosted::new(Arc::new(LocalElection::new(1)));
        let name = || "reports".to_owned();
        let owner = Some("key:a".to_owned());
        let mut updates = hosted.campaign(name(), "a".to_owned(), owner, std::future::pending());
        let token = elected(&mut updates).await;
        for (scope, token, expected) in [
            (ResignScope::Owner("key:b"), token, Resignation::NotOwner),
            (ResignScope::Owner("key:a"), token + 1, Resignation::Unknown),
            (ResignScope::All, token + 1, Resignation::Unknown),
            (ResignScope::Owner("key:a"), token, Resignation::Ended),
            (ResignScope::Owner("key:a"), token, Resignation::Unknown),
        ] {
            assert_eq!(hosted.resign(name(), token, scope).await, expected, "{scope:?} {token}");
        }
        let mut updates = hosted.campaign(name(), "b".to_owned(), None, std::future::pending());
        let token = elected(&mut updates).await;
        assert_eq!(hosted.resign(name(), token, ResignScope::Owner("key:a")).await, Resignation::NotOwner);
        assert_eq!(hosted.resign(name(), token, ResignScope::All).await, Resignation::Ended);
    }
}
