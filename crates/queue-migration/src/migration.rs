//! The phases of a migration, and the conditions for the next one. Pure.

use crate::client::QueueClient;
use serde::{Deserialize, Serialize};

/// MigrationPhase of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MigrationPhase {
    /// All processes publish to the old queue, and start to consume the new one as well.
    ConsumingBoth,
    /// All processes consume both queues, and start to publish to the new one.
    Producing,
    /// All processes consume both queues and publish to the new one, until the old one is empty.
    Draining,
}

impl MigrationPhase {
    /// Returns the name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsumingBoth => "CONSUMING_BOTH",
            Self::Producing => "PRODUCING",
            Self::Draining => "DRAINING",
        }
    }
}

/// The queue in use, and the migration to another one.
///
/// It is stored as JSON in the configuration entry `queue`, with field names of earlier releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMigration {
    /// The queue in use. During a migration, the old queue.
    pub current: String,
    /// The target of the migration. `None` if no migration is in progress.
    #[serde(default, rename = "moving")]
    pub target: Option<MigrationTarget>,
}

/// The target of a migration, and its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationTarget {
    /// The new queue.
    #[serde(rename = "to")]
    pub queue: String,
    /// The phase of the migration.
    pub phase: MigrationPhase,
    /// The user who requested the migration, if known.
    #[serde(default)]
    pub actor: Option<String>,
}

/// State of the old queue, as a process observes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// The old queue is empty.
    Empty,
    /// The old queue has been unreachable for so long that it is considered lost.
    Lost,
    /// The old queue contains messages, or its backlog could not be determined.
    Unknown,
}

/// Reason why a requested migration does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestRefusal {
    /// The requested queue is in use.
    InUse,
    /// A migration to the requested queue is in progress.
    AlreadyRequested,
    /// A migration to another queue is in progress.
    InProgress(MigrationTarget),
}

impl QueueMigration {
    /// Returns the state in which `queue` is in use and no migration is in progress.
    pub(crate) fn settled(queue: &str) -> Self {
        Self { current: queue.to_owned(), target: None }
    }

    /// Returns the queue to publish to, and the secondary queue that is only consumed.
    pub(crate) fn route(&self) -> (&str, Option<&str>) {
        match &self.target {
            None => (&self.current, None),
            Some(MigrationTarget { queue, phase: MigrationPhase::ConsumingBoth, .. }) => {
                (&self.current, Some(queue))
            }
            Some(MigrationTarget {
                queue,
                phase: MigrationPhase::Producing | MigrationPhase::Draining,
                ..
            }) => (queue, Some(&self.current)),
        }
    }

    /// Returns whether no process publishes to the new queue yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.phase == MigrationPhase::ConsumingBoth)
    }

    /// Returns the queue that is in use after the migration.
    pub(crate) fn newest(&self) -> &str {
        self.target.as_ref().map_or(&self.current, |target| &target.queue)
    }

    /// Returns the state after a request to migrate to `queue`. A request for the old queue reverts the migration: since
    /// all processes that know of it consume both queues, publishing switches back first.
    pub(crate) fn request(&self, queue: &str, actor: Option<String>) -> Result<Self, RequestRefusal> {
        let target = |phase| Some(MigrationTarget { queue: queue.to_owned(), phase, actor });
        match &self.target {
            None if self.current == queue => Err(RequestRefusal::InUse),
            None => Ok(Self { current: self.current.clone(), target: target(MigrationPhase::ConsumingBoth) }),
            Some(running) if running.queue == queue => Err(RequestRefusal::AlreadyRequested),
            // No process has published to the new queue, so it can be left at once.
            Some(MigrationTarget { phase: MigrationPhase::ConsumingBoth, .. }) if self.current == queue => {
                Ok(Self::settled(queue))
            }
            Some(running) if self.current == queue => {
                Ok(Self { current: running.queue.clone(), target: target(MigrationPhase::Producing) })
            }
            Some(running) => Err(RequestRefusal::InProgress(running.clone())),
        }
    }

    /// Returns the next state if all clients have applied `revision` and the old queue permits it.
    pub(crate) fn next(&self, revision: u64, clients: &[QueueClient], old: DrainState) -> Option<Self> {
        let target = self.target.as_ref()?;
        let after_all_applied = |phase| {
            let target = MigrationTarget { phase, ..target.clone() };
            clients
                .iter()
                .all(|client| client.applied >= revision)
                .then(|| Self { target: Some(target), ..self.clone() })
        };
        match target.phase {
            MigrationPhase::ConsumingBoth => after_all_applied(MigrationPhase::Producing),
            MigrationPhase::Producing => after_all_applied(MigrationPhase::Draining),
            MigrationPhase::Draining => match old {
                DrainState::Empty => Some(Self::settled(&target.queue)),
                // If only some clients have lost the old queue, the others drain it.
                DrainState::Lost if clients.iter().all(|client| client.has_lost_old) => {
                    Some(Self::settled(&target.queue))
                }
                DrainState::Lost | DrainState::Unknown => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MigrationPhase::{ConsumingBoth, Draining, Producing};

    fn migrating(current: &str, to: &str, phase: MigrationPhase) -> QueueMigration {
        let target = MigrationTarget { queue: to.to_owned(), phase, actor: None };
        QueueMigration { current: current.to_owned(), target: Some(target) }
    }

    fn client(applied: u64, has_lost_old: bool) -> QueueClient {
        let (instance, kind) = ("i".to_owned(), "saga-executor".to_owned());
        QueueClient { instance, kind, applied, backends: Vec::new(), has_lost_old }
    }

    #[test]
    fn phase_ends_when_all_clients_have_applied_it() {
        let (applied, late) = (client(7, false), client(6, false));
        let table = [
            (ConsumingBoth, vec![], DrainState::Unknown, Some(Producing)),
            (ConsumingBoth, vec![applied.clone(), applied.clone()], DrainState::Unknown, Some(Producing)),
            (ConsumingBoth, vec![applied.clone(), late.clone()], DrainState::Unknown, None),
            // The state of the old queue does not make a late client consume the new one.
            (ConsumingBoth, vec![applied.clone(), late.clone()], DrainState::Empty, None),
            (ConsumingBoth, vec![applied.clone(), late.clone()], DrainState::Lost, None),
            (ConsumingBoth, vec![client(9, false)], DrainState::Unknown, Some(Producing)),
            (Producing, vec![applied.clone()], DrainState::Unknown, Some(Draining)),
            (Producing, vec![late.clone(), applied.clone()], DrainState::Empty, None),
        ];
        for (phase, clients, old, next) in table {
            let next = next.map(|next| migrating("a", "b", next));
            assert_eq!(
                migrating("a", "b", phase).next(7, &clients, old),
                next,
                "{phase:?} {clients:?} {old:?}"
            );
        }
        assert_eq!(QueueMigration::settled("a").next(7, &[applied], DrainState::Empty), None);
    }

    #[test]
    fn migration_ends_when_old_queue_is_empty_or_all_clients_have_lost_it() {
        let (reaches, lost) = (client(7, false), client(7, true));
        let done = Some(QueueMigration::settled("b"));
        let table = [
            (vec![reaches.clone()], DrainState::Unknown, None),
            (vec![reaches.clone()], DrainState::Empty, done.clone()),
            // A new client applies the current revision before it publishes anything.
            (vec![client(0, false)], DrainState::Empty, done.clone()),
            (vec![lost.clone(), reaches.clone()], DrainState::Lost, None),
            (vec![lost.clone(), lost.clone()], DrainState::Lost, done.clone()),
            (vec![lost.clone()], DrainState::Unknown, None),
            (vec![], DrainState::Lost, done),
        ];
        for (clients, old, next) in table {
            assert_eq!(migrating("a", "b", Draining).next(7, &clients, old), next, "{clients:?} {old:?}");
        }
    }

    #[test]
    fn phase_determines_the_route() {
        let table = [
            (QueueMigration::settled("a"), ("a", None)),
            (migrating("a", "b", ConsumingBoth), ("a", Some("b"))),
            (migrating("a", "b", Producing), ("b", Some("a"))),
            (migrating("a", "b", Draining), ("b", Some("a"))),
        ];
        for (migration, route) in table {
            assert_eq!(migration.route(), route);
            assert_eq!(migration.is_starting(), migration == migrating("a", "b", ConsumingBoth));
            assert_eq!(migration.newest(), if migration.target.is_some() { "b" } else { "a" });
        }
    }

    #[test]
    fn stored_form_of_earlier_releases_is_kept() {
        let stored = r#"{"current":"a","moving":{"to":"b","phase":"DRAINING","actor":"me"}}"#;
        let target = MigrationTarget { queue: "b".to_owned(), phase: Draining, actor: Some("me".to_owned()) };
        let migration = QueueMigration { current: "a".to_owned(), target: Some(target) };
        assert_eq!(serde_json::from_str::<QueueMigration>(stored).unwrap(), migration);
        assert_eq!(serde_json::to_string(&migration).unwrap(), stored);
        let settled = serde_json::from_str::<QueueMigration>(r#"{"current":"a"}"#).unwrap();
        assert_eq!(settled, QueueMigration::settled("a"));
    }

    #[test]
    fn one_migration_is_in_progress_at_a_time_and_can_be_reverted() {
        let request = |migration: &QueueMigration, queue: &str| migration.request(queue, None);
        let settled = QueueMigration::settled("a");
        assert_eq!(request(&settled, "a"), Err(RequestRefusal::InUse));
        assert_eq!(request(&settled, "b"), Ok(migrating("a", "b", ConsumingBoth)));
        for phase in [ConsumingBoth, Producing, Draining] {
            let migration = migrating("a", "b", phase);
            assert_eq!(request(&migration, "b"), Err(RequestRefusal::AlreadyRequested));
            let target = migration.target.clone().unwrap();
            assert_eq!(request(&migration, "c"), Err(RequestRefusal::InProgress(target)));
        }
        // No process has published to the new queue.
        assert_eq!(request(&migrating("a", "b", ConsumingBoth), "a"), Ok(QueueMigration::settled("a")));
        for phase in [Producing, Draining] {
            assert_eq!(request(&migrating("a", "b", phase), "a"), Ok(migrating("b", "a", Producing)));
        }
    }
}
