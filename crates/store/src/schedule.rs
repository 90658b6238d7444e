//! Schedules: records that are read by name, and by the time at which they need attention.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;

/// Stored schedules. The store does not interpret their records.
#[async_trait]
pub trait ScheduleStore: std::fmt::Debug + Send + Sync {
    /// Stores a schedule. With `replaces`, the stored schedule must have that revision; without it, there must be none.
    /// Returns whether it was stored.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn put_schedule(&self, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error>;

    /// Returns a schedule.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn schedule(&self, namespace: &str, name: &str) -> Result<Option<StoredSchedule>, Error>;

    /// Returns up to `limit` schedules of a namespace that follow the name `after`, by name.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn schedules(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, Error>;

    /// Returns up to `limit` schedules of all namespaces whose `next_due` is not after `until`, the earliest first.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn due_schedules(&self, until: Timestamp, limit: u32) -> Result<Vec<StoredSchedule>, Error>;

    /// Deletes a schedule that has the given revision. Returns whether it was deleted.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was deleted and `Error::OutcomeUnknown` if the response was lost.
    async fn delete_schedule(&self, namespace: &str, name: &str, revision: u64) -> Result<bool, Error>;

    /// Counts the schedules of a namespace.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn schedule_count(&self, namespace: &str) -> Result<u64, Error>;
}

layer!(ScheduleStore, ScheduleLayer {
    fn put_schedule(schedule: &StoredSchedule, replaces: Option<u64>) -> bool;
    fn schedule(namespace: &str, name: &str) -> Option<StoredSchedule>;
    fn schedules(namespace: &str, after: Option<&str>, limit: u32) -> Vec<StoredSchedule>;
    fn due_schedules(until: Timestamp, limit: u32) -> Vec<StoredSchedule>;
    fn delete_schedule(namespace: &str, name: &str, revision: u64) -> bool;
    fn schedule_count(namespace: &str) -> u64;
});

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchedule {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Chosen by the writer. Each revision of a name is used once, also if the schedule is deleted in between.
    pub revision: u64,
    /// When the schedule needs attention. `None` if it needs none, because it is paused.
    pub next_due: Option<Timestamp>,
    /// The record, in the form of its writer.
    pub record: String,
}
