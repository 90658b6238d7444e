//! A consumer that stands still though there is more has to begin anew.
//!
//! The library does not get over everything: where brokers have lost a topic and its group, and somebody makes
//! the topic again before a consumer has noticed, it may wait for ever at a place that the new topic does not
//! have. Worse, what it passed over still waits as far as the broker knows, so that the ledger does not bring
//! it back. What the broker says is therefore compared, now and then, with what has come.

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between looks; nothing is asked for partitions of which something came in between.
const LOOK: Duration = Duration::from_secs(4);
/// A broker that does not answer is no reason to begin anew.
const ANSWER: Duration = Duration::from_secs(1);
/// So many looks in a row have to find the same: one may fall into a fetch.
const LOOKS: u32 = 2;

/// How far a partition has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// The offset behind the last that was fetched; 0: nothing was yet.
    pub(super) next: i64,
    /// What this consumer has had committed; 0: nothing yet.
    pub(super) committed: i64,
}

/// Looks at what a consumer has reached.
pub(super) struct Watch {
    at: Instant,
    before: BTreeMap<i32, Reached>,
    standing: u32,
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self { at: now(), before: BTreeMap::new(), standing: 0 }
    }

    pub(super) fn is_due(&self) -> bool {
        now().duration_since(self.at) >= LOOK
    }

    /// Why the consumer has to begin anew, if it has to.
    pub(super) fn look<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        topic: &str,
        reached: BTreeMap<i32, Reached>,
    ) -> Option<String> {
        self.at = now();
        let before = std::mem::replace(&mut self.before, reached);
        let idle = self.before.iter().filter(|(partition, reached)| before.get(partition) == Some(reached));
        let idle: BTreeMap<i32, Reached> = idle.map(|(partition, reached)| (*partition, *reached)).collect();
        match behind(consumer, topic, &idle) {
            Some(why) => {
                self.standing += 1;
                (self.standing >= LOOKS).then_some(why)
            }
            None => {
                self.standing = 0;
                None
            }
        }
    }
}

/// What of these partitions has not come though it is there; none also where the broker does not say.
fn behind<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    idle: &BTreeMap<i32, Reached>,
) -> Option<String> {
    if idle.is_empty() {
        return None;
    }
    let mut asked = TopicPartitionList::new();
    for partition in idle.keys() {
        asked.add_partition(topic, *partition);
    }
    let committed = consumer.committed_offsets(asked, ANSWER).ok()?;
    for each in committed.elements() {
        let Some(reached) = idle.get(&each.partition()) else { continue };
        let (low, high) = consumer.fetch_watermarks(topic, each.partition(), ANSWER).ok()?;
        let known = match each.offset() {
            Offset::Offset(offset) => offset,
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => low,
        };
        if let Some(why) = judge(*reached, known, high) {
            return Some(format!("partition {} of {topic} stands still: {why}", each.partition()));
        }
    }
    None
}

/// What is wrong with a partition that stands, by what the broker knows as committed, and its end.
fn judge(reached: Reached, known: i64, high: i64) -> Option<&'static str> {
    if high < reached.next {
        return Some("it was made again, and is shorter than what has come");
    }
    if known < reached.committed {
        return Some("the broker has forgotten what was taken");
    }
    let place = if reached.next > 0 { reached.next } else { known };
    (high > place).then_some("there is more, and it does not come")
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "monotonic, and for a pause between looks only")]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_though_there_is_more_is_known() {
        let at = |next, committed| Reached { next, committed };
        let well = [(at(5, 5), 5, 5), (at(0, 0), 5, 5), (at(5, 3), 3, 5), (at(0, 0), 0, 0)];
        for (reached, known, high) in well {
            assert_eq!(judge(reached, known, high), None, "{reached:?} {known} {high}");
        }
        let wrong = [
            (at(5, 5), 5, 3, "shorter"),
            (at(5, 5), 0, 5, "forgotten"),
            (at(5, 5), 5, 6, "more"),
            (at(0, 0), 2, 3, "more"),
        ];
        for (reached, known, high, word) in wrong {
            let why = judge(reached, known, high).unwrap();
            assert!(why.contains(word), "{reached:?} {known} {high}: {why}");
        }
    }
}
