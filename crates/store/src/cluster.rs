//! State that all processes of a cluster share: members, fencing tokens, configuration entries and the clock.

use crate::layer::layer;
use crate::{Announcement, ConfigEntry, Error, Member};
use async_trait::async_trait;
use goconductor_saga::{Json, Timestamp};

/// Members, fencing tokens, configuration entries and the clock.
#[async_trait]
pub trait ClusterStore: std::fmt::Debug + Send + Sync {
    /// Registers a process as a member, or renews its membership.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn announce(&self, member: &Announcement) -> Result<(), Error>;

    /// Returns the members whose membership has not expired by the database's clock, by kind and instance.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn members(&self) -> Result<Vec<Member>, Error>;

    /// Raises a named, durable counter and returns its new value. The counters are the source of fencing tokens.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn raise_epoch(&self, name: &str) -> Result<u64, Error>;

    /// Returns a configuration entry, or `None` if it has never been set.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn config_entry(&self, name: &str) -> Result<Option<ConfigEntry>, Error>;

    /// Sets a configuration entry if it still has `revision`, and returns the new entry. The revision of an entry that
    /// has never been set is 0. Returns `None`, and changes nothing, if the entry has another revision.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn compare_and_set(
        &self,
        name: &str,
        revision: u64,
        value: &Json,
    ) -> Result<Option<ConfigEntry>, Error>;

    /// Returns the time of the database's clock. Leases and timers use this clock.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// Checks that the database responds and has this release's schema.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached and `Error::Schema`, with the action to take, if
    /// the schema is of another release.
    async fn check(&self) -> Result<(), Error>;
}

layer!(ClusterStore, ClusterLayer {
    fn announce(member: &Announcement) -> ();
    fn members() -> Vec<Member>;
    fn raise_epoch(name: &str) -> u64;
    fn config_entry(name: &str) -> Option<ConfigEntry>;
    fn compare_and_set(name: &str, revision: u64, value: &Json) -> Option<ConfigEntry>;
    fn now() -> Timestamp;
    fn check() -> ();
});
