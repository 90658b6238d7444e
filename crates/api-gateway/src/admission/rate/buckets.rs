//! Token buckets in a table of bounded size.
//!
//! A bucket is one number: the time at which it is full again (the generic cell rate algorithm). A bucket that is full
//! needs no entry, so entries are dropped without an effect. If all entries are in use, further callers share a bucket.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// Parts of the table. Requests that are served concurrently seldom use the same.
const SHARDS: usize = 64;
/// Maximum number of buckets of a shard. The whole table has less than 3 MiB.
const SHARD_BUCKETS: usize = 1024;
const SECOND: u64 = 1_000_000_000;

/// The limit of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Time in which one token arrives, in nanoseconds.
    interval: u64,
    /// Number of tokens of a full bucket.
    pub(super) burst: u64,
}

/// The state of a bucket after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    /// Tokens that are left.
    pub(super) remaining: u64,
    /// Time until the bucket is full again.
    pub(super) full_in: Duration,
    /// Time until the next token, if the bucket had none for the request.
    pub(super) wait: Option<Duration>,
}

impl Policy {
    /// Creates the limit of `per_second` tokens, of which up to `burst` are kept. Both are at least 1.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: SECOND / u64::from(per_second.max(1)), burst: u64::from(burst.max(1)) }
    }

    /// Time in which an empty bucket becomes full.
    pub(super) fn window(&self) -> Duration {
        Duration::from_nanos(self.capacity())
    }

    fn capacity(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    /// Takes a token from the bucket that is full at `full_at`, if it has one.
    fn take(&self, full_at: &mut u64, now: u64) -> Balance {
        let latest = now.saturating_add(self.capacity());
        let next = (*full_at).max(now).saturating_add(self.interval);
        let wait = next.checked_sub(latest).filter(|wait| *wait > 0).map(Duration::from_nanos);
        if wait.is_none() {
            *full_at = next;
        }
        let full_in = full_at.saturating_sub(now);
        let remaining = self.capacity().saturating_sub(full_in) / self.interval;
        Balance { remaining, full_in: Duration::from_nanos(full_in), wait }
    }
}

/// The buckets of one limit.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The keys are random for each process, so that an attacker cannot choose callers that share an entry.
    hasher: RandomState,
    shards: Vec<Mutex<BucketShard>>,
}

#[derive(Debug, Default)]
struct BucketShard {
    /// The time at which each bucket is full again.
    full_at: HashMap<u64, u64>,
    /// The bucket of all that have no entry because there are too many.
    shared: u64,
    /// Time before which no entry can be dropped.
    purge_at: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Buckets {
    /// Takes a token from the bucket of a key. `now` is the time since the start.
    pub(super) fn take(&self, policy: &Policy, key: &(impl Hash + ?Sized), now: Duration) -> Balance {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let key = self.hasher.hash_one(key);
        match self.shard(key) {
            Some(shard) => policy.take(shard.lock().bucket(key, now), now),
            None => policy.take(&mut 0, now),
        }
    }

    /// Returns what [`take`](Self::take) would return, and takes no token.
    pub(super) fn peek(&self, policy: &Policy, key: &(impl Hash + ?Sized), now: Duration) -> Balance {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let key = self.hasher.hash_one(key);
        let mut full_at = self.shard(key).map_or(0, |shard| shard.lock().full_at(key));
        policy.take(&mut full_at, now)
    }

    fn shard(&self, key: u64) -> Option<&Mutex<BucketShard>> {
        self.shards.get(usize::try_from(key >> 32).unwrap_or_default() % SHARDS)
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().full_at.len()).sum()
    }
}

impl BucketShard {
    /// Returns the bucket of a key.
    fn bucket(&mut self, key: u64, now: u64) -> &mut u64 {
        if self.full_at.len() >= SHARD_BUCKETS && !self.full_at.contains_key(&key) {
            self.purge(now);
            if self.full_at.len() >= SHARD_BUCKETS {
                return &mut self.shared;
            }
        }
        self.full_at.entry(key).or_default()
    }

    /// Returns the time at which the bucket of a key is full again.
    fn full_at(&self, key: u64) -> u64 {
        let without_entry = if self.full_at.len() >= SHARD_BUCKETS { self.shared } else { 0 };
        self.full_at.get(&key).copied().unwrap_or(without_entry)
    }

    /// Drops the buckets that are full. Does nothing before one of them can be.
    fn purge(&mut self, now: u64) {
        if now < self.purge_at {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        self.purge_at = self.full_at.values().min().copied().unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn bucket_gives_its_burst_and_then_the_rate() {
        let (buckets, policy) = (Buckets::default(), Policy::new(10, 5));
        assert_eq!(policy.window(), MILLIS(500));
        let first = buckets.take(&policy, "a", MILLIS(1000));
        assert_eq!(first, Balance { remaining: 4, full_in: MILLIS(100), wait: None });
        for remaining in (0..4).rev() {
            assert_eq!(buckets.take(&policy, "a", MILLIS(1000)).remaining, remaining);
        }
        let refused = buckets.take(&policy, "a", MILLIS(1030));
        assert_eq!(refused, Balance { remaining: 0, full_in: MILLIS(470), wait: Some(MILLIS(70)) });
        let mut given = 0;
        for at in 1030..6000 {
            given += u64::from(buckets.take(&policy, "a", MILLIS(at)).wait.is_none());
        }
        assert_eq!(given, 49, "ten per second, whatever is refused between them");
        assert_eq!(
            buckets.take(&policy, "a", MILLIS(60_000)).remaining,
            4,
            "no more than the burst is saved"
        );
    }

    #[test]
    fn table_is_bounded_and_keeps_the_buckets_in_use() {
        let (buckets, policy) = (Buckets::default(), Policy::new(1, 1));
        assert!(buckets.take(&policy, "abuser", MILLIS(0)).wait.is_none());
        let mut refused = 0;
        for number in 0..200_000_u32 {
            refused += u32::from(buckets.take(&policy, &number, MILLIS(500)).wait.is_some());
        }
        assert_eq!(buckets.len(), SHARDS * SHARD_BUCKETS);
        assert!(refused > 100_000, "{refused}: those without an entry share a bucket");
        assert!(buckets.take(&policy, "abuser", MILLIS(999)).wait.is_some(), "its entry was kept");
        // All buckets are full again.
        for number in 200_000..300_000_u32 {
            buckets.take(&policy, &number, MILLIS(5_000 + u64::from(number - 200_000)));
        }
        assert!(buckets.len() <= SHARDS * SHARD_BUCKETS);
        let late = buckets.take(&policy, "late", MILLIS(1_000_000));
        assert!(late.wait.is_none());
    }
}
