//! Leader elections with fencing tokens.
//!
//! [`Election`] is the port. [`local`] is the election within a single process. `postgres`, `etcd` and `zookeeper` are
//! the elections on a server, each behind the feature of its name, and `conformance` is the one array of cases that every
//! adapter runs. The leader is the holder of the term with the highest [`FencingToken`]. A process that was paused may
//! still assume that it leads, so the token is checked where its writes land. [`Leadership::is_valid`] only saves useless
//! attempts.
//!
//! [`Hosted`] runs campaigns and holds terms for remote candidates. [`EraElection`] keeps tokens increasing across a
//! change of the backend, and [`MovableElection`] moves to another backend while it is in use.
//!
//! This crate does not know the purpose of an election, and it does not know the store: the caller supplies the lower
//! bound for tokens.
//!
//! Invariants: a name has at most one leader; the token increases with every change of leader; the end of a term, by any
//! cause, resolves [`Leadership::lost`].

#[cfg(feature = "candidate-queue")]
mod access;
#[cfg(any(feature = "candidate-queue", feature = "postgres"))]
mod backoff;
#[cfg(feature = "candidate-queue")]
mod candidate_queue;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod era;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
mod hosted;
mod leadership;
pub mod local;
mod movable;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod settings;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

use std::fmt;

use async_trait::async_trait;

pub use era::{EraElection, LAST_ERA};
pub use error::{Error, ErrorKind};
#[cfg(feature = "etcd")]
pub use etcd::EtcdElection;
pub use hosted::{CampaignError, CampaignUpdate, Hosted, ResignScope, Resignation};
pub use leadership::{Leadership, Lost, Term};
pub use local::LocalElection;
pub use movable::MovableElection;
#[cfg(feature = "postgres")]
pub use postgres::PostgresElection;
pub use settings::{Credentials, ElectionTls};
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZooKeeperElection;

/// The number of a term of leadership. It is higher than that of every earlier term of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A leader and its term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The name of the election.
    pub name: String,
    /// The name of the leader, as it was passed to [`Election::campaign`].
    pub candidate: String,
    /// The fencing token of the term.
    pub token: FencingToken,
    /// The start of the term, in milliseconds since 1970. It is for people only; no decision depends on it.
    pub since_ms: i64,
}

/// Elects one leader for each name.
#[async_trait]
pub trait Election: fmt::Debug + Send + Sync {
    /// Waits until `candidate` leads `name`. The leadership ends when its lease is lost, when it is asked to step down, on
    /// [`Leadership::resign`], and on drop.
    ///
    /// Safe to cancel: a dropped campaign leaves no candidacy behind.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the backend cannot be reached and [`Error::TokensExhausted`] if no higher token
    /// exists.
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error>;

    /// Returns the leader of `name`, if any.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the backend cannot be reached.
    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error>;

    /// Returns all leaders, sorted by name.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the backend cannot be reached.
    async fn list(&self) -> Result<Vec<Leader>, Error>;

    /// Ends the term of the leader of `name`. Returns `false` if `name` has no leader.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the backend cannot be reached.
    async fn step_down(&self, name: &str) -> Result<bool, Error>;
}
