//! An election that moves to another backend while it is in use.
//!
//! A move ends all terms and campaigns at the previous backend, as far as they began here. It knows nothing of other
//! processes: tokens of the next backend must be higher than those of the previous one, see [`EraElection`].
//!
//! [`EraElection`]: crate::EraElection

use crate::{Election, Error, Leader, Leadership};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;

/// An election whose backend can be replaced.
#[derive(Debug)]
pub struct MovableElection {
    current: watch::Sender<ElectionInUse>,
}

/// A backend, and the signal that ends its terms. Each term has a receiver of it.
#[derive(Debug, Clone)]
struct ElectionInUse {
    election: Arc<dyn Election>,
    replaced: Arc<watch::Sender<bool>>,
}

impl ElectionInUse {
    fn new(election: Arc<dyn Election>) -> Self {
        Self { election, replaced: Arc::new(watch::Sender::new(false)) }
    }
}

impl MovableElection {
    /// Creates an election at its first backend.
    #[must_use]
    pub fn new(election: Arc<dyn Election>) -> Self {
        Self { current: watch::Sender::new(ElectionInUse::new(election)) }
    }

    /// Replaces the backend: all terms end, and campaigns begin again at `next`. The returned future resolves when the
    /// holders of all terms have resigned or dropped them.
    pub fn replace(&self, next: Arc<dyn Election>) -> impl Future<Output = ()> + Send + use<> {
        let previous = self.current.send_replace(ElectionInUse::new(next));
        previous.replaced.send_replace(true);
        async move { previous.replaced.closed().await }
    }

    fn election(&self) -> Arc<dyn Election> {
        Arc::clone(&self.current.borrow().election)
    }
}

#[async_trait]
impl Election for MovableElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let mut current = self.current.subscribe();
        loop {
            let ElectionInUse { election, replaced } = current.borrow_and_update().clone();
            // Before the campaign: a move in the meantime waits for the term that it wins.
            let ends_with = replaced.subscribe();
            // Safe to cancel: a dropped campaign leaves no candidacy behind.
            tokio::select! {
                biased;
                // The sender lives as long as `self`, so the channel is open.
                _ = current.changed() => {}
                won = election.campaign(name, candidate) => return Ok(won?.ending_with(ends_with)),
            }
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.election().observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.election().list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.election().step_down(name).await
    }
}
