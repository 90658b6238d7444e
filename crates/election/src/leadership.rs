//! A term of leadership.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{Error, FencingToken, Leader};

/// A term in an adapter. Dropping it ends the leadership without waiting for the backend.
#[async_trait]
pub trait Term: fmt::Debug + Send + Sync {
    /// Ends the leadership and waits until the backend has recorded the end.
    ///
    /// # Errors
    /// Returns an error if the backend does not answer. The leadership then ends with its lease.
    async fn resign(self: Box<Self>) -> Result<(), Error>;
}

/// A term of leadership, from its start until it is lost, resigned or dropped.
#[derive(Debug)]
pub struct Leadership {
    leader: Leader,
    lost: watch::Receiver<bool>,
    /// Becomes true when the backend is replaced. `None` if it cannot be.
    replaced: Option<watch::Receiver<bool>>,
    term: Box<dyn Term>,
}

impl Leadership {
    /// Creates the leadership of a won term. `lost` must become true, or its sender must be dropped, when the term ends.
    #[must_use]
    pub fn new(leader: Leader, lost: watch::Receiver<bool>, term: Box<dyn Term>) -> Self {
        Self { leader, lost, replaced: None, term }
    }

    /// Ends the leadership also when `replaced` becomes true.
    pub(crate) fn ending_with(self, replaced: watch::Receiver<bool>) -> Self {
        Self { replaced: Some(replaced), ..self }
    }

    /// Replaces the description of the leader. If `map` fails, the term is dropped.
    pub(crate) fn map_leader(
        mut self,
        tell: impl FnOnce(Leader) -> Result<Leader, Error>,
    ) -> Result<Self, Error> {
        self.leader = tell(self.leader)?;
        Ok(self)
    }

    /// The fencing token, which every write on behalf of this term must carry.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.leader.token
    }

    /// The leader and its term.
    #[must_use]
    pub fn leader(&self) -> &Leader {
        &self.leader
    }

    /// Whether the term has not ended as far as this process knows. A process that was paused is notified of the end late. Only
    /// a check of the token where a write lands is reliable.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let has_ended = |ended: &watch::Receiver<bool>| *ended.borrow() || ended.has_changed().is_err();
        !has_ended(&self.lost) && !self.replaced.as_ref().is_some_and(has_ended)
    }

    /// Waits for the end of the term. The future does not borrow the leadership, and any number of tasks can wait.
    pub fn lost(&self) -> Lost {
        let (mut lost, replaced) = (self.lost.clone(), self.replaced.clone());
        Lost(Box::pin(async move {
            let replaced = async {
                match replaced {
                    Some(mut replaced) => drop(replaced.wait_for(|replaced| *replaced).await),
                    None => std::future::pending().await,
                }
            };
            // A closed channel also means the end. Safe to cancel: both branches only wait.
            tokio::select! {
                _ = lost.wait_for(|lost| *lost) => {}
                () = replaced => {}
            }
        }))
    }

    /// Ends the leadership and waits until another candidate can win.
    ///
    /// # Errors
    /// Returns an error if the backend does not answer. The leadership then ends with its lease.
    pub async fn resign(self) -> Result<(), Error> {
        self.term.resign().await
    }
}

/// A future that resolves when a term of leadership ends. Safe to cancel.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Lost(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lost")
    }
}
