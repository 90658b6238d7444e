//! The shards that a consumer owns, and the messages of each that were read and not acknowledged.

use super::super::api::{Page, ReadPosition, ReadRecord};
use super::super::lease::{Checkpoint, Lease, ShardLeaseUpdate, ShardProgress};
use super::super::record;
use crate::{Delivery, DeliveryTag, Error, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The next delivery tag. Tags are unique in the process, so that the tag of another consumer is recognised.
static NEXT_TAG: AtomicU64 = AtomicU64::new(1);

/// The state of a consumer.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) shards: BTreeMap<String, OwnedShard>,
    /// The index of the shard that messages are received from first.
    turn: usize,
    /// Messages that the owner received from shards that were lost before it acknowledged them. Another consumer may
    /// have received them.
    pub(super) lost: BTreeSet<DeliveryTag>,
    /// The error that ended the consumer.
    pub(super) failed: Option<Error>,
}

/// A shard, from the acquisition of its lease until the lease is lost or released, or the shard is finished.
#[derive(Debug)]
pub(super) struct OwnedShard {
    /// The counter of the lease.
    counter: u64,
    /// The messages that were read, without the acknowledged ones at the front.
    entries: VecDeque<Entry>,
    /// The number of entries that the owner has received.
    received: usize,
    /// The stored progress.
    checkpoint: Checkpoint,
    acknowledged: u64,
    /// The sequence number of the last record that was read.
    last_read: Option<String>,
    /// The size of the messages that the owner has not received.
    bytes: usize,
    /// Whether the shard was closed and read to its end.
    is_read_to_end: bool,
    /// An estimate of the number of unread messages.
    unread: u64,
    /// The publish time of the last message that was read.
    newest_ms: Option<i64>,
}

/// A message of a shard.
#[derive(Debug)]
struct Entry {
    tag: DeliveryTag,
    /// The checkpoint once this message and all before it are acknowledged.
    checkpoint: Checkpoint,
    published_at_ms: i64,
    /// `None` once the owner has received the message.
    message: Option<Message>,
    acknowledged: bool,
}

/// An update of a lease, and the messages that it acknowledges.
#[derive(Debug)]
pub(super) struct PendingUpdate {
    pub(super) update: ShardLeaseUpdate,
    entries: usize,
    tags: Vec<DeliveryTag>,
}

impl State {
    /// Returns the number of messages that the owner has not received, and their size.
    pub(super) fn prefetched(&self) -> (usize, usize) {
        let each = self.shards.values().map(|shard| (shard.entries.len() - shard.received, shard.bytes));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Returns at most `max` messages, from each shard in order, and from the shards in round robin.
    pub(super) fn receive(&mut self, max: usize) -> Vec<Delivery> {
        let mut received = Vec::new();
        let count = self.shards.len();
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        let (first, offset) = (self.turn, count - self.turn);
        let mut order: Vec<_> = self.shards.values_mut().enumerate().collect();
        order.sort_by_key(|(index, _)| if *index >= first { index - first } else { index + offset });
        for (_, shard) in order {
            shard.receive(max, &mut received);
        }
        received
    }

    /// Marks messages as acknowledged by the owner.
    pub(super) fn acknowledge(&mut self, tags: &[DeliveryTag]) {
        for shard in self.shards.values_mut() {
            for tag in tags {
                if let Ok(index) = shard.entries.binary_search_by_key(tag, |entry| entry.tag)
                    && index < shard.received
                    && let Some(entry) = shard.entries.get_mut(index)
                {
                    entry.acknowledged = true;
                }
            }
        }
    }

    /// Returns the updates of all shards, or only of those whose checkpoint has changed.
    pub(super) fn pending_updates(&self, ttl: Duration, all: bool) -> Vec<PendingUpdate> {
        let pending = self.shards.iter().map(|(name, shard)| (shard, shard.pending_update(name, ttl)));
        pending.filter(|(shard, pending)| all || pending.changes(shard)).map(|(_, pending)| pending).collect()
    }

    /// Applies the result of an update. Returns whether the shard was removed: because its lease was lost, or because it
    /// is finished.
    pub(super) fn apply_update(&mut self, pending: PendingUpdate, accepted: bool) -> bool {
        let PendingUpdate { update, entries, tags } = pending;
        let shard = self.shards.get_mut(&update.shard).filter(|shard| shard.counter == update.counter);
        if !accepted {
            return shard.is_some() && self.lose(&update.shard);
        }
        // The lease may have been lost since, but these messages were acknowledged before.
        for tag in &tags {
            self.lost.remove(tag);
        }
        let Some(shard) = shard else { return false };
        shard.entries.drain(..entries);
        shard.received -= entries;
        shard.checkpoint = update.progress.checkpoint;
        shard.acknowledged = update.progress.acknowledged;
        shard.checkpoint == Checkpoint::End && self.shards.remove(&update.shard).is_some()
    }

    /// Removes a shard whose lease was lost. Returns whether it was owned.
    pub(super) fn lose(&mut self, shard: &str) -> bool {
        let Some(lost) = self.shards.remove(shard) else { return false };
        self.lost.extend(lost.entries.iter().take(lost.received).map(|entry| entry.tag));
        true
    }
}

impl PendingUpdate {
    fn changes(&self, shard: &OwnedShard) -> bool {
        self.entries > 0 || self.update.progress.checkpoint != shard.checkpoint
    }
}

impl OwnedShard {
    /// Creates the state of a shard from its lease before the acquisition.
    pub(super) fn new(lease: &Lease) -> Self {
        Self {
            counter: lease.counter + 1,
            entries: VecDeque::new(),
            received: 0,
            checkpoint: lease.progress.checkpoint.clone(),
            acknowledged: lease.progress.acknowledged,
            last_read: None,
            bytes: 0,
            is_read_to_end: false,
            // The numbers of the last reader, until the first read.
            unread: lease.progress.waiting,
            newest_ms: lease.progress.oldest_waiting_ms,
        }
    }

    pub(super) fn counter(&self) -> u64 {
        self.counter
    }

    /// Returns the position at which reading continues.
    pub(super) fn read_position(&self) -> ReadPosition {
        match &self.last_read {
            Some(sequence) => ReadPosition::After(sequence.clone()),
            None => ReadPosition::from(&self.checkpoint),
        }
    }

    /// Adds the records of a page.
    pub(super) fn add_page(&mut self, page: &Page) {
        let arrived_ms = |read: Option<&ReadRecord>| read.map_or(0, |read| read.arrived_ms);
        let covered_ms = arrived_ms(page.records.last()).saturating_sub(arrived_ms(page.records.first()));
        let mut count = 0;
        for read in &page.records {
            let messages = record::messages(&read.data, &read.partition_key, read.arrived_ms);
            count += u64::try_from(messages.len()).unwrap_or(u64::MAX);
            self.add_record(&read.sequence, messages);
            self.last_read = Some(read.sequence.clone());
        }
        self.is_read_to_end = page.next.is_none();
        self.unread = match page.behind_ms {
            0 => 0,
            // Assumes the density of this page.
            behind_ms => (count * behind_ms / u64::try_from(covered_ms).unwrap_or(0).max(1)).max(1),
        };
    }

    fn add_record(&mut self, sequence: &str, messages: Vec<Message>) {
        let acknowledged = match &self.checkpoint {
            Checkpoint::Within(at, count) if at == sequence => *count,
            Checkpoint::Within(..) | Checkpoint::Horizon | Checkpoint::After(_) | Checkpoint::End => 0,
        };
        let last = messages.len();
        for (number, message) in (1_u32..).zip(messages) {
            if number <= acknowledged {
                continue;
            }
            let checkpoint = if usize::try_from(number).is_ok_and(|number| number == last) {
                Checkpoint::After(sequence.to_owned())
            } else {
                Checkpoint::Within(sequence.to_owned(), number)
            };
            self.bytes += message.payload.len();
            self.newest_ms = Some(message.published_at_ms);
            self.entries.push_back(Entry {
                tag: DeliveryTag::new(NEXT_TAG.fetch_add(1, Ordering::Relaxed)),
                checkpoint,
                published_at_ms: message.published_at_ms,
                message: Some(message),
                acknowledged: false,
            });
        }
    }

    fn receive(&mut self, max: usize, received: &mut Vec<Delivery>) {
        while received.len() < max
            && let Some(entry) = self.entries.get_mut(self.received)
        {
            self.received += 1;
            if let Some(message) = entry.message.take() {
                self.bytes -= message.payload.len();
                // No consumer has acted on a message that was not acknowledged.
                received.push(Delivery { tag: entry.tag, message, redelivered: false });
            }
        }
    }

    fn pending_update(&self, name: &str, ttl: Duration) -> PendingUpdate {
        let entries = self.entries.iter().take_while(|entry| entry.acknowledged).count();
        let tags = self.entries.iter().take(entries).map(|entry| entry.tag).collect();
        let rest = self.entries.iter().skip(entries);
        let is_finished = self.is_read_to_end && entries == self.entries.len();
        let checkpoint = match entries.checked_sub(1).and_then(|last| self.entries.get(last)) {
            _ if is_finished => Checkpoint::End,
            Some(last) => last.checkpoint.clone(),
            None => self.checkpoint.clone(),
        };
        let unread_ms = self.newest_ms.filter(|_| self.unread > 0);
        let progress = ShardProgress {
            checkpoint,
            acknowledged: self.acknowledged + u64::try_from(entries).unwrap_or(0),
            waiting: u64::try_from(self.entries.len() - entries).unwrap_or(0) + self.unread,
            oldest_waiting_ms: rest.map(|entry| entry.published_at_ms).chain(unread_ms).min(),
        };
        let ttl = if is_finished { Duration::ZERO } else { ttl };
        let update = ShardLeaseUpdate { shard: name.to_owned(), counter: self.counter, progress, ttl };
        PendingUpdate { update, entries, tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const TTL: Duration = Duration::from_secs(6);

    fn lease(checkpoint: &str) -> Lease {
        let progress = ShardProgress {
            checkpoint: Checkpoint::from(checkpoint),
            acknowledged: 10,
            ..ShardProgress::default()
        };
        let (owner, remaining, parents) = (None, Duration::ZERO, Vec::new());
        Lease { shard: "s/1".to_owned(), parents, owner, counter: 4, remaining, progress }
    }

    /// Creates a record of messages with one key, with the publish times 1, 2, 3 and so on.
    fn read_record(sequence: &str, messages: i64) -> ReadRecord {
        let message = |at| Message { key: "k".to_owned(), payload: Bytes::from("p"), published_at_ms: at };
        let all: Vec<Message> = (1..=messages).map(message).collect();
        let record = record::requests(&all).remove(0).remove(0);
        ReadRecord {
            sequence: sequence.to_owned(),
            partition_key: record.partition_key,
            data: record.data,
            arrived_ms: 1000,
        }
    }

    fn page(records: Vec<ReadRecord>, is_end: bool) -> Page {
        Page { records, next: (!is_end).then(|| "next".to_owned()), behind_ms: 0 }
    }

    fn state(checkpoint: &str, pages: Vec<Page>) -> State {
        let mut state = State::default();
        let mut shard = OwnedShard::new(&lease(checkpoint));
        pages.iter().for_each(|page| shard.add_page(page));
        state.shards.insert("s/1".to_owned(), shard);
        state
    }

    fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
        deliveries.iter().map(|delivery| delivery.tag).collect()
    }

    /// Applies all pending updates. Returns the checkpoint, the acknowledged and the waiting messages of each.
    fn update(state: &mut State, accepted: bool) -> Vec<(String, u64, u64)> {
        let mut updates = Vec::new();
        for pending in state.pending_updates(TTL, false) {
            let ShardProgress { checkpoint, acknowledged, waiting, .. } = &pending.update.progress;
            updates.push((checkpoint.to_string(), *acknowledged, *waiting));
            state.apply_update(pending, accepted);
        }
        updates
    }

    #[test]
    fn checkpoint_stops_before_the_first_unacknowledged_message() {
        let mut state = state("", vec![page(vec![read_record("7", 3), read_record("8", 1)], false)]);
        let received = tags(&state.receive(10));
        assert_eq!(received.len(), 4);
        state.acknowledge(&received[1..2]);
        assert_eq!(update(&mut state, true), []);
        state.acknowledge(&received[..1]);
        assert_eq!(update(&mut state, true), [("7+2".to_owned(), 12, 2)]);
        state.acknowledge(&received);
        assert_eq!(update(&mut state, true), [("8".to_owned(), 14, 0)]);
        assert_eq!(update(&mut state, true), []);
    }

    #[test]
    fn acknowledged_part_of_a_record_is_not_delivered_again() {
        let mut state = state("7+2", vec![page(vec![read_record("7", 3), read_record("8", 1)], false)]);
        assert_eq!(state.shards["s/1"].read_position(), ReadPosition::After("8".to_owned()));
        let received = state.receive(10);
        let times: Vec<i64> = received.iter().map(|delivery| delivery.message.published_at_ms).collect();
        assert_eq!(times, [3, 1]);
        assert_eq!(OwnedShard::new(&lease("7+2")).read_position(), ReadPosition::At("7".to_owned()));
        assert_eq!(OwnedShard::new(&lease("7")).read_position(), ReadPosition::After("7".to_owned()));
        assert_eq!(OwnedShard::new(&lease("")).read_position(), ReadPosition::Horizon);
    }

    #[test]
    fn shard_is_finished_once_all_its_messages_are_acknowledged() {
        let mut state = state("", vec![page(vec![read_record("7", 1)], true)]);
        assert_eq!(update(&mut state, true), []);
        let received = tags(&state.receive(1));
        state.acknowledge(&received);
        let pending = state.pending_updates(TTL, false).remove(0);
        let ShardLeaseUpdate { progress, ttl, .. } = &pending.update;
        assert_eq!((&progress.checkpoint, *ttl), (&Checkpoint::End, Duration::ZERO));
        assert!(state.apply_update(pending, true) && state.shards.is_empty());
        let mut empty = self::state("7", vec![page(Vec::new(), true)]);
        assert_eq!(update(&mut empty, true), [("END".to_owned(), 10, 0)]);
    }

    #[test]
    fn message_acknowledged_before_its_shard_was_lost_is_not_reported_as_lost() {
        let mut state = state("", vec![page(vec![read_record("7", 3)], false)]);
        let received = tags(&state.receive(2));
        state.acknowledge(&received[..1]);
        let pending = state.pending_updates(TTL, false).remove(0);
        assert!(state.lose("s/1"));
        assert_eq!(state.lost, BTreeSet::from_iter(received.clone()));
        state.apply_update(pending, true);
        assert_eq!(state.lost, BTreeSet::from([received[1]]));
        let mut refused = self::state("", vec![page(vec![read_record("7", 3)], false)]);
        let received = tags(&refused.receive(1));
        refused.acknowledge(&received);
        update(&mut refused, false);
        assert_eq!((refused.lost.len(), refused.prefetched()), (1, (0, 0)));
    }

    #[test]
    fn unread_messages_are_estimated_from_the_density_of_the_last_page() {
        let records = vec![read_record("7", 10), ReadRecord { arrived_ms: 1100, ..read_record("8", 10) }];
        let page = Page { behind_ms: 1000, ..page(records, false) };
        let state = state("", vec![page]);
        let progress = state.pending_updates(TTL, true).remove(0).update.progress;
        assert_eq!((progress.waiting, progress.oldest_waiting_ms), (20 + 200, Some(1)));
    }

    #[test]
    fn shards_are_received_from_in_round_robin() {
        let mut state = State::default();
        for name in ["a", "b", "c"] {
            let mut shard = OwnedShard::new(&lease(""));
            shard.add_page(&page(vec![read_record(name, 2)], false));
            state.shards.insert(name.to_owned(), shard);
        }
        assert_eq!(state.prefetched(), (6, 6));
        let firsts: BTreeSet<u64> = (0..3).map(|_| state.receive(1)[0].tag.get()).collect();
        let received: Vec<usize> = state.shards.values().map(|shard| shard.received).collect();
        assert_eq!((firsts.len(), received), (3, vec![1, 1, 1]));
        assert_eq!(state.receive(100).len(), 3);
    }
}
