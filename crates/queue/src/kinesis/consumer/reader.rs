//! Reads one shard ahead, at the pace that Kinesis allows, for as long as the consumer holds it.

use super::super::api::{Page, Start};
use super::super::fault::{Fault, Kind, Pauses};
use super::held::Held;
use super::{AHEAD, AHEAD_BYTES, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Kinesis answers five reads of a shard a second.
const PACE: Duration = Duration::from_millis(200);
const PAUSES: [Duration; 2] = [PACE, Duration::from_secs(2)];
/// A place that was given with nothing is gone to after this time: what was on its way when it was given would
/// stand before it where a stream writes down the time of a record before the record.
const SETTLED: Duration = Duration::from_secs(1);
/// Faults in a row of which it is said.
const SAY_AFTER: u32 = 5;
/// A reader that has not been answered for so long gives its shard up: what it says of it is old, and somebody else may
/// be answered.
const SILENT: Duration = Duration::from_secs(10);

/// Reads one shard.
pub(super) struct Reader {
    shared: Arc<Shared>,
    shard: String,
    counter: u64,
    iterator: Option<String>,
    /// Where to go on if nothing has come until then.
    further: Option<(Instant, String)>,
    faults: u32,
    /// Since when there were nothing but faults.
    faulty: Option<Instant>,
}

/// What there is to do next.
enum Next {
    Read,
    /// Nothing, ever: the shard is at its end, another's, or can't be read.
    End,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, shard: String, counter: u64) -> Self {
        Self { shared, shard, counter, iterator: None, further: None, faults: 0, faulty: None }
    }

    pub(super) async fn run(mut self) {
        let [first, longest] = PAUSES;
        let fresh = Pauses::new(&self.shard, first, longest);
        let mut pauses = fresh.clone();
        loop {
            let limit = self.room().await;
            let asked = Instant::now();
            let next = match self.read(limit).await {
                Ok(next) => {
                    (pauses, self.faults, self.faulty) = (fresh.clone(), 0, None);
                    tokio::time::sleep_until(asked + PACE).await;
                    next
                }
                Err(fault) => {
                    let next = self.mend(fault);
                    tokio::time::sleep(pauses.next()).await;
                    next
                }
            };
            if matches!(next, Next::End) {
                return;
            }
        }
    }

    /// Waits for room, for all shards together; how many records may be read.
    async fn room(&self) -> usize {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // From here on no room is missed.
            room.as_mut().enable();
            let (count, bytes) = self.shared.state().waiting();
            if count < AHEAD && bytes < AHEAD_BYTES {
                // Records that are like those that wait.
                let size = (bytes / count.max(1)).max(1);
                return (AHEAD - count).min((AHEAD_BYTES - bytes) / size).max(1);
            }
            room.await;
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Next, Fault> {
        // It was lost; the keeper ends this.
        let Some(start) = self.start() else { return Ok(Next::End) };
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => self.shared.api.iterator(&self.shared.stream, &self.shard, start).await?,
        };
        self.iterator = Some(iterator.clone());
        let page = self.shared.api.read(&iterator, limit).await?;
        self.move_on(&page, iterator);
        let mut state = self.shared.state();
        let held = state.shards.get_mut(&self.shard).filter(|held| held.counter() == self.counter);
        // It was lost meanwhile: what was read is another's.
        let Some(held) = held else { return Ok(Next::End) };
        held.take_in(&page);
        drop(state);
        if !page.records.is_empty() {
            self.shared.came.notify_waiters();
        }
        if page.next.is_some() {
            return Ok(Next::Read);
        }
        tracing::info!(stream = self.shared.stream, shard = self.shard, "is read to its end");
        // There may be nothing left to be acknowledged: then nobody else writes its end down.
        self.shared.changed.notify_one();
        Ok(Next::End)
    }

    /// Where reading goes on; none: the shard is not held any more.
    fn start(&self) -> Option<Start> {
        let state = self.shared.state();
        let held = state.shards.get(&self.shard).filter(|held| held.counter() == self.counter);
        held.map(Held::start)
    }

    fn move_on(&mut self, page: &Page, from: String) {
        let now = Instant::now();
        let next = page.next.clone();
        if !page.records.is_empty() || page.behind_ms > 0 || next.is_none() {
            (self.iterator, self.further) = (next, None);
            return;
        }
        match self.further.take() {
            Some((since, further)) if now.duration_since(since) >= SETTLED => {
                self.iterator = Some(further);
                self.further = next.map(|next| (now, next));
            }
            Some(waits) => (self.iterator, self.further) = (Some(from), Some(waits)),
            None => (self.iterator, self.further) = (Some(from), next.map(|next| (now, next))),
        }
    }

    /// What can be done about a fault.
    fn mend(&mut self, fault: Fault) -> Next {
        self.faults += 1;
        let faulty = *self.faulty.get_or_insert_with(Instant::now);
        if self.faults == SAY_AFTER {
            let (stream, shard) = (&self.shared.stream, &self.shard);
            tracing::warn!(stream, shard, %fault, "can't be read, and is tried again");
        }
        match fault.kind {
            // It was too old, which takes five minutes; another one is asked for.
            Kind::Iterator if self.iterator.is_some() => {
                (self.iterator, self.further) = (None, None);
                Next::Read
            }
            // The stream is not the one that it was, or nobody may read it.
            Kind::Iterator | Kind::Missing | Kind::Refused => {
                self.shared.fail(fault.into());
                Next::End
            }
            Kind::NotSent | Kind::Unknown if faulty.elapsed() >= SILENT => {
                self.shared.fail(fault.into());
                Next::End
            }
            Kind::Throttled | Kind::NotSent | Kind::InUse | Kind::Unknown => Next::Read,
        }
    }
}
