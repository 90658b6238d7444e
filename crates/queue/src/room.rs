//! How much a topic at a broker may hold.
//!
//! The bound is kept by those who publish, before they do: what does not fit is refused whole, which no broker does
//! for several messages. Each knows an upper bound of what waits, which is what it last saw and what it has published
//! since, and looks again only when that does not suffice. Several publishers may so pass the bound by what they
//! publish between two looks: it protects the broker's disk, and is no promise to the message.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The room of all topics.
#[derive(Debug)]
pub(crate) struct Room {
    limit: u64,
    /// What waits at most, by the topic's name at the broker.
    waiting: Mutex<BTreeMap<String, u64>>,
}

impl Room {
    /// Topics of that many messages each.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// Takes room for some messages, if it is certain that there is.
    pub(crate) fn take(&self, name: &str, count: usize) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = waiting.get_mut(name) else { return false };
        let with = known.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if with > self.limit {
            return false;
        }
        *known = with;
        true
    }

    /// So many wait.
    pub(crate) fn found(&self, name: &str, count: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), count);
    }

    /// What a topic holds at most.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_whole_and_only_of_what_was_seen() {
        let room = Room::new(10);
        assert!(!room.take("a", 1), "nothing is known yet");
        room.found("a", 3);
        assert!(room.take("a", 5));
        assert!(!room.take("a", 3), "11 do not fit");
        assert!(room.take("a", 2), "10 do");
        assert!(!room.take("b", 1), "another topic is another matter");
        room.found("a", 0);
        assert!(room.take("a", 10));
    }
}
