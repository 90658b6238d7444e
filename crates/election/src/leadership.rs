//! A term of leadership in its holder's hands.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{Error, FencingToken, Leader};

/// The adapter's side of a term. Dropping it gives the leadership up without waiting for the backend.
#[async_trait]
pub trait Term: fmt::Debug + Send + Sync {
    /// Gives the leadership up, and waits until the backend knows it.
    ///
    /// # Errors
    /// When the backend does not answer: then the leadership ends with its lease.
    async fn resign(self: Box<Self>) -> Result<(), Error>;
}

/// A term of leadership, from the moment it was won until it is lost, resigned or dropped.
#[derive(Debug)]
pub struct Leadership {
    leader: Leader,
    lost: watch::Receiver<bool>,
    term: Box<dyn Term>,
}

impl Leadership {
    /// A term that an adapter has won. `lost` turns true, or its sender is dropped, when the term ends in
    /// any way.
    #[must_use]
    pub fn new(leader: Leader, lost: watch::Receiver<bool>, term: Box<dyn Term>) -> Self {
        Self { leader, lost, term }
    }

    /// The same term, with its leader told in another way. Where that can't be, the term is given up.
    pub(crate) fn told_as(
        mut self,
        tell: impl FnOnce(Leader) -> Result<Leader, Error>,
    ) -> Result<Self, Error> {
        self.leader = tell(self.leader)?;
        Ok(self)
    }

    /// What every write on behalf of this term carries.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.leader.token
    }

    /// Who leads what, by this term.
    #[must_use]
    pub fn leader(&self) -> &Leader {
        &self.leader
    }

    /// Whether the term has not ended, as far as this process knows. One that was paused may know it
    /// late: only the token, checked where a write lands, is proof.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !*self.lost.borrow() && self.lost.has_changed().is_ok()
    }

    /// Waits for the end of the term. It does not borrow the leadership, and can be waited for by as many
    /// as want to know.
    pub fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        // A closed channel is an end as well.
        Lost(Box::pin(async move { drop(lost.wait_for(|lost| *lost).await) }))
    }

    /// Gives the leadership up, and waits until another can have it.
    ///
    /// # Errors
    /// When the backend does not answer: then the leadership ends with its lease.
    pub async fn resign(self) -> Result<(), Error> {
        self.term.resign().await
    }
}

/// Ends when a term of leadership does. Safe to cancel.
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
