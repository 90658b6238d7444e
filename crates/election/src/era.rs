//! Tokens that keep increasing across a change of the backend.
//!
//! Each backend counts independently. A backend that replaces another one, or that lost its data, can start with lower
//! tokens than were used before, and every write of its leaders would be refused. The highest bits of a token are
//! therefore an era. An operator raises the era with such a change, because only an operator knows of it.

use crate::{Election, Error, FencingToken, Leader, Leadership};
use async_trait::async_trait;
use std::sync::Arc;

/// Bits of a token for the backend's counter. They last two million years at a thousand writes per second.
const BITS: u32 = 56;
/// The highest era. A token must fit into the 63 bits of a database integer.
pub const LAST_ERA: u8 = 127;

/// An election whose tokens carry an era.
#[derive(Debug, Clone)]
pub struct EraElection {
    election: Arc<dyn Election>,
    era: u8,
}

impl EraElection {
    /// Wraps an election. Its tokens are higher than all tokens of earlier eras.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if `era` is higher than [`LAST_ERA`].
    pub fn new(election: Arc<dyn Election>, era: u8) -> Result<Self, Error> {
        if era > LAST_ERA {
            return Err(Error::Configuration {
                reason: format!("era {era} is too high; the last era is {LAST_ERA}"),
            });
        }
        Ok(Self { election, era })
    }

    fn leader(&self, leader: Leader) -> Result<Leader, Error> {
        if leader.token.0 >> BITS > 0 {
            return Err(Error::TokensExhausted { name: leader.name });
        }
        Ok(Leader { token: FencingToken(u64::from(self.era) << BITS | leader.token.0), ..leader })
    }
}

#[async_trait]
impl Election for EraElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        self.election.campaign(name, candidate).await?.map_leader(|leader| self.leader(leader))
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.election.observe(name).await?.map(|leader| self.leader(leader)).transpose()
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.election.list().await?.into_iter().map(|leader| self.leader(leader)).collect()
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.election.step_down(name).await
    }
}
