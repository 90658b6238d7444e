//! Tokens that rise over a change of the backend as well.
//!
//! Each backend counts by itself. One that takes the place of another, or that has lost its data, may begin with
//! lower tokens than were seen already, and writes of whoever leads by it would all be refused. So a token's
//! highest bits are an era, which is raised with such a change: by people, as only they know of it.

use crate::{Election, Error, FencingToken, Leader, Leadership};
use async_trait::async_trait;
use std::sync::Arc;

/// Bits of a token that the backend counts by: an etcd that writes a thousand times a second has enough for two
/// million years.
const BITS: u32 = 56;
/// The last era: a token fits into 63 bits, as databases have them.
pub const LAST_ERA: u8 = 127;

/// An election in an era.
#[derive(Debug, Clone)]
pub struct InEra {
    election: Arc<dyn Election>,
    era: u8,
}

impl InEra {
    /// An election whose tokens are higher than all those of an earlier era, whoever's they were.
    ///
    /// # Errors
    /// [`Error::Configuration`] when there is no such era.
    pub fn new(election: Arc<dyn Election>, era: u8) -> Result<Self, Error> {
        if era > LAST_ERA {
            return Err(Error::Configuration { reason: format!("the last era is {LAST_ERA}, not {era}") });
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
impl Election for InEra {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        self.election.campaign(name, candidate).await?.told_as(|leader| self.leader(leader))
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
