//! The limit of the topics at a broker.
//!
//! Publishers enforce the limit before they publish: a batch that does not fit is refused as a whole, which no broker
//! does for several messages. Each publisher keeps an upper bound of the depth: the last sample plus its own publishes
//! since. It takes another sample only if that bound exceeds the limit. Several publishers together may therefore
//! exceed the limit by what they publish between two samples. The limit protects the disk of the broker; it is not a
//! guarantee to a message.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The capacity of all topics.
#[derive(Debug)]
pub(crate) struct TopicCapacity {
    limit: u64,
    /// Upper bound of the depth, by the name of the topic at the broker.
    depths: Mutex<BTreeMap<String, u64>>,
}

impl TopicCapacity {
    /// Limits each topic to `limit` messages.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, depths: Mutex::default() }
    }

    /// Reserves capacity for `count` messages. Returns `false` if they may not fit.
    pub(crate) fn try_reserve(&self, name: &str, count: usize) -> bool {
        let mut depths = self.depths.lock();
        let Some(depth) = depths.get_mut(name) else { return false };
        let reserved = depth.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if reserved > self.limit {
            return false;
        }
        *depth = reserved;
        true
    }

    /// Records a sample of the depth.
    pub(crate) fn record(&self, name: &str, depth: u64) {
        self.depths.lock().insert(name.to_owned(), depth);
    }

    /// Returns the limit of a topic.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_reserved_as_a_whole_and_only_after_a_sample() {
        let capacity = TopicCapacity::new(10);
        assert!(!capacity.try_reserve("a", 1), "no sample yet");
        capacity.record("a", 3);
        assert!(capacity.try_reserve("a", 5));
        assert!(!capacity.try_reserve("a", 3), "11 exceed the limit");
        assert!(capacity.try_reserve("a", 2), "10 do not");
        assert!(!capacity.try_reserve("b", 1), "no sample of this topic");
        capacity.record("a", 0);
        assert!(capacity.try_reserve("a", 10));
    }
}
