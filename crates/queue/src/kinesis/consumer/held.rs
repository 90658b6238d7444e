//! The shards that a consumer holds: what it has read of each and not acknowledged, in its order.

use super::super::api::{Came, Page, Start};
use super::super::lease::{Checkpoint, Lease, Mark, Progress};
use super::super::record;
use crate::{Delivery, DeliveryTag, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Tags are told apart in the whole process, so that one of another consumer is recognised.
static NEXT_TAG: AtomicU64 = AtomicU64::new(1);

/// All that a consumer holds.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) shards: BTreeMap<String, Held>,
    /// Whose turn it is to be taken from first.
    turn: usize,
    /// What was given to the owner from shards that have gone since: others may have it now.
    pub(super) lost: BTreeSet<DeliveryTag>,
    /// Why there will be no more.
    pub(super) failed: Option<crate::Error>,
}

/// A shard, from when it was taken until it is lost, given up or at its end.
#[derive(Debug)]
pub(super) struct Held {
    /// The counter of its lease.
    counter: u64,
    /// Read and not acknowledged, or not all before it.
    line: VecDeque<Entry>,
    /// How many of the line have been given to the owner.
    given: usize,
    /// What is known to be written down.
    checkpoint: Checkpoint,
    taken: u64,
    /// The last record that was read.
    read: Option<String>,
    /// The bytes of the messages that were not given yet.
    bytes: usize,
    /// It was closed, and has been read to its end.
    is_read: bool,
    /// An estimate of what follows, and when the newest of what was read was published.
    unread: u64,
    newest_ms: Option<i64>,
}

/// A message in line.
#[derive(Debug)]
struct Entry {
    tag: DeliveryTag,
    /// Up to where everything is acknowledged when this message and all before it are.
    checkpoint: Checkpoint,
    published_at_ms: i64,
    /// Until it is given to the owner.
    message: Option<Message>,
    acknowledged: bool,
}

/// What is to be written down of a shard, and what that acknowledges.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) mark: Mark,
    entries: usize,
    tags: Vec<DeliveryTag>,
}

impl State {
    /// Messages that were read and not given to the owner, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let each = self.shards.values().map(|held| (held.line.len() - held.given, held.bytes));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Gives at most `max`, from each shard in its order, the shards by turns.
    pub(super) fn give(&mut self, max: usize) -> Vec<Delivery> {
        let mut given = Vec::new();
        let count = self.shards.len();
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        let (first, then) = (self.turn, count - self.turn);
        let lines: Vec<&mut Held> = self.shards.values_mut().collect();
        // Those from the turn on, then those before it.
        let mut order: Vec<_> = lines.into_iter().enumerate().collect();
        order.sort_by_key(|(place, _)| if *place >= first { place - first } else { place + then });
        for (_, held) in order {
            held.give(max, &mut given);
        }
        given
    }

    /// The owner says that these are taken over.
    pub(super) fn acknowledge(&mut self, tags: &[DeliveryTag]) {
        for held in self.shards.values_mut() {
            for tag in tags {
                if let Ok(place) = held.line.binary_search_by_key(tag, |entry| entry.tag)
                    && place < held.given
                    && let Some(entry) = held.line.get_mut(place)
                {
                    entry.acknowledged = true;
                }
            }
        }
    }

    /// What is to be written down: of all shards, or of those of which more was acknowledged than is written.
    pub(super) fn due(&self, lives: Duration, all: bool) -> Vec<Due> {
        let due = self.shards.iter().map(|(shard, held)| (held, held.due(shard, lives)));
        due.filter(|(held, due)| all || due.is_news(held)).map(|(_, due)| due).collect()
    }

    /// It is written down, or the shard is another's; whether a shard is gone from here, for either reason.
    pub(super) fn written(&mut self, due: Due, kept: bool) -> bool {
        let Due { mark, entries, tags } = due;
        let held = self.shards.get_mut(&mark.shard).filter(|held| held.counter == mark.counter);
        if !kept {
            return held.is_some() && self.lose(&mark.shard);
        }
        // It was lost meanwhile, but these were acknowledged before.
        for tag in &tags {
            self.lost.remove(tag);
        }
        let Some(held) = held else { return false };
        held.line.drain(..entries);
        held.given -= entries;
        held.checkpoint = mark.progress.checkpoint;
        held.taken = mark.progress.taken;
        held.checkpoint == Checkpoint::End && self.shards.remove(&mark.shard).is_some()
    }

    /// The shard is another's; whether it was held.
    pub(super) fn lose(&mut self, shard: &str) -> bool {
        let Some(held) = self.shards.remove(shard) else { return false };
        self.lost.extend(held.line.iter().take(held.given).map(|entry| entry.tag));
        true
    }
}

impl Due {
    fn is_news(&self, held: &Held) -> bool {
        self.entries > 0 || self.mark.progress.checkpoint != held.checkpoint
    }
}

impl Held {
    /// A shard that was just taken: `lease` as it was before.
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            counter: lease.counter + 1,
            line: VecDeque::new(),
            given: 0,
            checkpoint: lease.progress.checkpoint.clone(),
            taken: lease.progress.taken,
            read: None,
            bytes: 0,
            is_read: false,
            // Until it is read: what was last said of it.
            unread: lease.progress.waiting,
            newest_ms: lease.progress.oldest_waiting_ms,
        }
    }

    pub(super) fn counter(&self) -> u64 {
        self.counter
    }

    /// Where reading goes on.
    pub(super) fn start(&self) -> Start {
        match &self.read {
            Some(sequence) => Start::After(sequence.clone()),
            None => Start::from(&self.checkpoint),
        }
    }

    /// Takes in what was read.
    pub(super) fn take_in(&mut self, page: &Page) {
        let arrived = |came: Option<&Came>| came.map_or(0, |came| came.arrived_ms);
        let span = arrived(page.records.last()).saturating_sub(arrived(page.records.first()));
        let mut messages = 0;
        for came in &page.records {
            let all = record::messages(&came.data, &came.partition_key, came.arrived_ms);
            messages += u64::try_from(all.len()).unwrap_or(u64::MAX);
            self.add(&came.sequence, all);
            self.read = Some(came.sequence.clone());
        }
        self.is_read = page.next.is_none();
        self.unread = match page.behind_ms {
            0 => 0,
            // As dense as what was just read.
            behind => (messages * behind / u64::try_from(span).unwrap_or(0).max(1)).max(1),
        };
    }

    fn add(&mut self, sequence: &str, messages: Vec<Message>) {
        let done = match &self.checkpoint {
            // The rest of it was acknowledged before.
            Checkpoint::Within(at, done) if at == sequence => *done,
            Checkpoint::Within(..) | Checkpoint::Horizon | Checkpoint::After(_) | Checkpoint::End => 0,
        };
        let last = messages.len();
        for (number, message) in (1_u32..).zip(messages) {
            if number <= done {
                continue;
            }
            let checkpoint = if usize::try_from(number).is_ok_and(|number| number == last) {
                Checkpoint::After(sequence.to_owned())
            } else {
                Checkpoint::Within(sequence.to_owned(), number)
            };
            self.bytes += message.payload.len();
            self.newest_ms = Some(message.published_at_ms);
            self.line.push_back(Entry {
                tag: DeliveryTag::new(NEXT_TAG.fetch_add(1, Ordering::Relaxed)),
                checkpoint,
                published_at_ms: message.published_at_ms,
                message: Some(message),
                acknowledged: false,
            });
        }
    }

    fn give(&mut self, max: usize, given: &mut Vec<Delivery>) {
        while given.len() < max
            && let Some(entry) = self.line.get_mut(self.given)
        {
            self.given += 1;
            if let Some(message) = entry.message.take() {
                self.bytes -= message.payload.len();
                // What another consumer had was acknowledged, or acted on by nobody.
                given.push(Delivery { tag: entry.tag, message, redelivered: false });
            }
        }
    }

    /// What is to be written down.
    fn due(&self, shard: &str, lives: Duration) -> Due {
        let entries = self.line.iter().take_while(|entry| entry.acknowledged).count();
        let tags = self.line.iter().take(entries).map(|entry| entry.tag).collect();
        let rest = self.line.iter().skip(entries);
        let is_end = self.is_read && entries == self.line.len();
        let checkpoint = match entries.checked_sub(1).and_then(|last| self.line.get(last)) {
            _ if is_end => Checkpoint::End,
            Some(last) => last.checkpoint.clone(),
            None => self.checkpoint.clone(),
        };
        let unread_ms = self.newest_ms.filter(|_| self.unread > 0);
        let progress = Progress {
            checkpoint,
            taken: self.taken + u64::try_from(entries).unwrap_or(0),
            waiting: u64::try_from(self.line.len() - entries).unwrap_or(0) + self.unread,
            oldest_waiting_ms: rest.map(|entry| entry.published_at_ms).chain(unread_ms).min(),
        };
        let lives = if is_end { Duration::ZERO } else { lives };
        let mark = Mark { shard: shard.to_owned(), counter: self.counter, progress, lives };
        Due { mark, entries, tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const LIVES: Duration = Duration::from_secs(6);

    fn lease(checkpoint: &str) -> Lease {
        let progress =
            Progress { checkpoint: Checkpoint::from(checkpoint), taken: 10, ..Progress::default() };
        let (owner, left, parents) = (None, Duration::ZERO, Vec::new());
        Lease { shard: "s/1".to_owned(), parents, owner, counter: 4, left, progress }
    }

    /// A record of so many messages of one key, published at 1, 2, 3 and so on.
    fn came(sequence: &str, messages: i64) -> Came {
        let message = |at| Message { key: "k".to_owned(), payload: Bytes::from("p"), published_at_ms: at };
        let all: Vec<Message> = (1..=messages).map(message).collect();
        let record = record::requests(&all).remove(0).remove(0);
        Came {
            sequence: sequence.to_owned(),
            partition_key: record.partition_key,
            data: record.data,
            arrived_ms: 1000,
        }
    }

    fn page(records: Vec<Came>, is_end: bool) -> Page {
        Page { records, next: (!is_end).then(|| "next".to_owned()), behind_ms: 0 }
    }

    fn state(checkpoint: &str, pages: Vec<Page>) -> State {
        let mut state = State::default();
        let mut held = Held::of(&lease(checkpoint));
        pages.iter().for_each(|page| held.take_in(page));
        state.shards.insert("s/1".to_owned(), held);
        state
    }

    fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
        deliveries.iter().map(|delivery| delivery.tag).collect()
    }

    fn write(state: &mut State, kept: bool) -> Vec<(String, u64, u64)> {
        let mut said = Vec::new();
        for due in state.due(LIVES, false) {
            let Progress { checkpoint, taken, waiting, .. } = &due.mark.progress;
            said.push((checkpoint.to_string(), *taken, *waiting));
            state.written(due, kept);
        }
        said
    }

    #[test]
    fn only_what_has_no_gap_before_it_is_written_down() {
        let mut state = state("", vec![page(vec![came("7", 3), came("8", 1)], false)]);
        let given = tags(&state.give(10));
        assert_eq!(given.len(), 4);
        state.acknowledge(&given[1..2]);
        assert_eq!(write(&mut state, true), []);
        state.acknowledge(&given[..1]);
        assert_eq!(write(&mut state, true), [("7+2".to_owned(), 12, 2)]);
        state.acknowledge(&given);
        assert_eq!(write(&mut state, true), [("8".to_owned(), 14, 0)]);
        assert_eq!(write(&mut state, true), []);
    }

    #[test]
    fn what_was_acknowledged_of_a_record_does_not_come_again() {
        let mut state = state("7+2", vec![page(vec![came("7", 3), came("8", 1)], false)]);
        assert_eq!(state.shards["s/1"].start(), Start::After("8".to_owned()));
        let at: Vec<i64> = state.give(10).iter().map(|delivery| delivery.message.published_at_ms).collect();
        assert_eq!(at, [3, 1]);
        assert_eq!(Held::of(&lease("7+2")).start(), Start::At("7".to_owned()));
        assert_eq!(Held::of(&lease("7")).start(), Start::After("7".to_owned()));
        assert_eq!(Held::of(&lease("")).start(), Start::Horizon);
    }

    #[test]
    fn an_end_is_written_down_once_all_before_it_is_acknowledged() {
        let mut state = state("", vec![page(vec![came("7", 1)], true)]);
        assert_eq!(write(&mut state, true), []);
        let given = tags(&state.give(1));
        state.acknowledge(&given);
        let due = state.due(LIVES, false).remove(0);
        assert_eq!((&due.mark.progress.checkpoint, due.mark.lives), (&Checkpoint::End, Duration::ZERO));
        assert!(state.written(due, true) && state.shards.is_empty());
        let mut empty = self::state("7", vec![page(Vec::new(), true)]);
        assert_eq!(write(&mut empty, true), [("END".to_owned(), 10, 0)]);
    }

    #[test]
    fn what_is_lost_is_told_from_what_was_acknowledged_before() {
        let mut state = state("", vec![page(vec![came("7", 3)], false)]);
        let given = tags(&state.give(2));
        state.acknowledge(&given[..1]);
        let due = state.due(LIVES, false).remove(0);
        assert!(state.lose("s/1"));
        assert_eq!(state.lost, BTreeSet::from_iter(given.clone()));
        state.written(due, true);
        assert_eq!(state.lost, BTreeSet::from([given[1]]));
        let mut refused = self::state("", vec![page(vec![came("7", 3)], false)]);
        let given = tags(&refused.give(1));
        refused.acknowledge(&given);
        write(&mut refused, false);
        assert_eq!((refused.lost.len(), refused.waiting()), (1, (0, 0)));
    }

    #[test]
    fn what_follows_is_estimated() {
        let mut of = page(vec![came("7", 10), Came { arrived_ms: 1100, ..came("8", 10) }], false);
        of.behind_ms = 1000;
        let state = state("", vec![of]);
        let due = state.due(LIVES, true).remove(0);
        assert_eq!((due.mark.progress.waiting, due.mark.progress.oldest_waiting_ms), (20 + 200, Some(1)));
    }

    #[test]
    fn shards_take_turns() {
        let mut state = State::default();
        for shard in ["a", "b", "c"] {
            let mut held = Held::of(&lease(""));
            held.take_in(&page(vec![came(shard, 2)], false));
            state.shards.insert(shard.to_owned(), held);
        }
        assert_eq!(state.waiting(), (6, 6));
        let firsts: BTreeSet<u64> = (0..3).map(|_| state.give(1)[0].tag.get()).collect();
        let lines: Vec<usize> = state.shards.values().map(|held| held.given).collect();
        assert_eq!((firsts.len(), lines), (3, vec![1, 1, 1]));
        assert_eq!(state.give(100).len(), 3);
    }
}
