//! The processes that use queues.

use goconductor_store::{Member, QueueView};

/// Kinds of processes that neither publish nor consume.
const WITHOUT_QUEUE: [&str; 2] = ["state-store", "leader-elector"];

/// A process that uses queues, by its membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueClient {
    /// The random identity of the process.
    pub instance: String,
    /// `api-gateway` or `saga-executor`.
    pub kind: String,
    /// The revision of the migration that the process has applied.
    pub applied: u64,
    /// The queues that are configured for the process.
    pub backends: Vec<String>,
    /// Whether the process has been unable to reach the old queue for so long that it considers it lost.
    pub has_lost_old: bool,
}

impl QueueClient {
    /// Returns `None` if the member uses no queue.
    pub(crate) fn from_member(member: &Member) -> Option<Self> {
        let announcement = &member.announcement;
        if WITHOUT_QUEUE.contains(&announcement.kind.as_str()) {
            return None;
        }
        // A process without a view is of a release without migrations, and never applies one.
        let view = announcement.info.queue.clone().unwrap_or_default();
        let QueueView { applied, backends, has_lost_old, .. } = view;
        let (instance, kind) = (announcement.instance.clone(), announcement.kind.clone());
        Some(Self { instance, kind, applied, backends, has_lost_old })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::Timestamp;
    use goconductor_store::{Announcement, ProcessInfo};
    use std::time::Duration;

    fn member(kind: &str, queue: Option<QueueView>) -> Member {
        Member {
            announcement: Announcement {
                instance: "i".to_owned(),
                kind: kind.to_owned(),
                address: String::new(),
                info: ProcessInfo { queue, ..ProcessInfo::default() },
                ttl: Duration::ZERO,
            },
            since: Timestamp(0),
            seen_at: Timestamp(0),
        }
    }

    #[test]
    fn members_that_use_queues_are_clients() {
        let backends = vec!["kafka".to_owned(), "nats".to_owned()];
        let view =
            QueueView { applied: 3, backends: backends.clone(), has_lost_old: true, ..QueueView::default() };
        let client = QueueClient::from_member(&member("saga-executor", Some(view))).unwrap();
        assert_eq!((client.applied, client.has_lost_old, client.backends), (3, true, backends));
        let without_view = QueueClient::from_member(&member("api-gateway", None)).unwrap();
        assert_eq!((without_view.applied, without_view.has_lost_old), (0, false));
        assert!(without_view.backends.is_empty());
        for kind in WITHOUT_QUEUE {
            assert_eq!(QueueClient::from_member(&member(kind, None)), None);
        }
    }
}
