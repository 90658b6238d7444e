//! What an election has to promise.
//!
//! [`Election`] is the port; [`local`] is the election of a single process, [`postgres`] one on a database,
//! [`etcd`] and [`zookeeper`] are those on what is made for it; [`conformance`] is the one array of cases that
//! every adapter runs. A leader is whoever holds the term with the highest [`FencingToken`]; a process that was
//! paused may still believe that it leads, so the token is checked where its writes land, and
//! [`Leadership::is_valid`] only saves the attempt.
//!
//! [`Hosted`] holds candidacies and terms for those who are elsewhere. [`InEra`] has tokens rise over a change of
//! the backend.
//!
//! The crate deliberately knows nothing of what is led, nor of the store: a floor for the tokens is given
//! by the caller.
//!
//! Invariants: a name has at most one leader; tokens rise with every change of leader, for ever; a term
//! that ends, however it ends, says so through [`Leadership::lost`].

mod access;
mod clock;
pub mod conformance;
mod era;
mod error;
pub mod etcd;
mod hosted;
mod leadership;
mod line;
pub mod local;
pub mod postgres;
pub mod settings;
pub mod zookeeper;

use std::fmt;

use async_trait::async_trait;

pub use era::{InEra, LAST_ERA};
pub use error::{Error, ErrorKind};
pub use etcd::EtcdElection;
pub use hosted::{Hosted, Refusal, Told};
pub use leadership::{Leadership, Lost, Term};
pub use local::LocalElection;
pub use postgres::PostgresElection;
pub use settings::{Credentials, ElectionTls};
pub use zookeeper::ZooKeeperElection;

/// Names a term of leadership: higher than that of every term of the same name before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who leads what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// What is led.
    pub name: String,
    /// Who leads it, as it called itself.
    pub candidate: String,
    /// The term's token.
    pub token: FencingToken,
    /// When the term began, in milliseconds since 1970. For people: nothing is decided by it.
    pub since_ms: i64,
}

/// Chooses one leader for each name.
#[async_trait]
pub trait Election: fmt::Debug + Send + Sync {
    /// Waits until this candidate leads `name`. The leadership ends when its lease is lost, when somebody
    /// has it step down, by [`Leadership::resign`], or by drop.
    ///
    /// Safe to cancel: a campaign that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TokensExhausted`].
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error>;

    /// Who leads `name`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error>;

    /// All leaders, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn list(&self) -> Result<Vec<Leader>, Error>;

    /// Ends the term of whoever leads `name`; false: nobody does.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn step_down(&self, name: &str) -> Result<bool, Error>;
}
