//! How much of a stream waits.
//!
//! Of a shard that somebody reads its reader says so, once a second and at each acknowledgement: what it has read
//! and not acknowledged is counted, and what it has not read is an estimate, of how old that is and of how dense
//! what came before it was. Of a shard whose reader has died, or that has none, it is counted here, from where it was
//! acknowledged: exactly if one look reaches its end, else with the same estimate of the rest. What was taken is always
//! exact.

use super::api::{Api, Start, id_of};
use super::fault::{Fault, Kind};
use super::lease::{Checkpoint, Lease, Leases, Progress};
use super::record;
use crate::{Backlog, Error};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A reader that has said nothing for so long may be gone, and what it said last is old.
const FRESH: Duration = Duration::from_secs(2);
/// What was counted is not counted again for so long: reads of a shard are few, and whoever takes it needs them.
const COUNTED: Duration = Duration::from_secs(1);
/// One look. Kinesis may answer with nothing before it comes to what there is.
const RECORDS: usize = 1000;
const PAGES: usize = 3;
/// Between reads of one shard.
const PACE: Duration = Duration::from_millis(200);

/// Counts what nobody reads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    known: Mutex<BTreeMap<(String, String), Counted>>,
    /// One at a time, as reads are few.
    counting: tokio::sync::Mutex<()>,
}

/// What was counted, and from where.
#[derive(Debug, Clone)]
struct Counted {
    at: Instant,
    from: Checkpoint,
    waiting: u64,
    oldest_waiting_ms: Option<i64>,
}

impl Counts {
    /// How much of a stream waits.
    pub(super) async fn backlog(
        &self,
        api: &Api,
        leases: &Arc<dyn Leases>,
        stream: &str,
        lives: Duration,
    ) -> Result<Backlog, Error> {
        let leases = leases.list(stream).await?;
        let mut backlog = Backlog::default();
        for lease in &leases {
            backlog.taken += lease.progress.taken;
            if lease.is_ended() {
                continue;
            }
            let Progress { waiting, oldest_waiting_ms, .. } = lease.progress;
            let found = if is_fresh(lease, lives) {
                (waiting, oldest_waiting_ms)
            } else {
                self.count(api, stream, &lease.shard, &lease.progress.checkpoint).await?
            };
            add(&mut backlog, found);
        }
        // Nobody has ever read it: there are no leases yet.
        if leases.is_empty() {
            for shard in api.shards(stream).await? {
                add(&mut backlog, self.count(api, stream, &shard.key, &Checkpoint::Horizon).await?);
            }
        }
        self.forget(stream, &leases, lives);
        Ok(backlog)
    }

    async fn count(
        &self,
        api: &Api,
        stream: &str,
        shard: &str,
        from: &Checkpoint,
    ) -> Result<(u64, Option<i64>), Error> {
        let key = (stream.to_owned(), shard.to_owned());
        let known = |age: Duration| {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = known.get(&key).filter(|known| known.from == *from && known.at.elapsed() < age);
            counted.map(|known| (known.waiting, known.oldest_waiting_ms))
        };
        if let Some(known) = known(COUNTED) {
            return Ok(known);
        }
        let _one = self.counting.lock().await;
        if let Some(known) = known(COUNTED) {
            return Ok(known);
        }
        let (waiting, oldest_waiting_ms) = match look(api, stream, shard, from).await {
            Ok(found) => found,
            // Others count as well.
            Err(fault) if fault.kind == Kind::Throttled => return known(COUNTED * 4).ok_or(fault.into()),
            Err(fault) => return Err(fault.into()),
        };
        let counted = Counted { at: Instant::now(), from: from.clone(), waiting, oldest_waiting_ms };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, counted);
        Ok((waiting, oldest_waiting_ms))
    }

    /// Shards that are read, or are no more, need not be remembered.
    fn forget(&self, stream: &str, leases: &[Lease], lives: Duration) {
        let is_open = |shard: &str| {
            leases.is_empty() || leases.iter().any(|lease| lease.shard == shard && !is_fresh(lease, lives))
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, shard), _| of != stream || is_open(shard));
    }
}

/// Whether somebody reads it, and said so a moment ago; `lives` is for how long that was said.
fn is_fresh(lease: &Lease, lives: Duration) -> bool {
    lease.is_held() && lease.left + FRESH >= lives
}

fn add(backlog: &mut Backlog, (waiting, oldest_waiting_ms): (u64, Option<i64>)) {
    backlog.waiting += waiting;
    backlog.oldest_waiting_ms = backlog.oldest_waiting_ms.into_iter().chain(oldest_waiting_ms).min();
}

/// Counts from a place on: how many wait, and since when the oldest.
async fn look(api: &Api, stream: &str, shard: &str, from: &Checkpoint) -> Result<(u64, Option<i64>), Fault> {
    let iterator = match api.iterator(stream, shard, Start::from(from)).await {
        Ok(iterator) => iterator,
        // The stream was made anew, or the shard has been forgotten: there is nothing from there on.
        Err(fault) if matches!(fault.kind, Kind::Iterator | Kind::Missing) => {
            tracing::debug!(stream, shard = id_of(shard), %fault, "nothing is counted");
            return Ok((0, None));
        }
        Err(fault) => return Err(fault),
    };
    let (mut next, mut waiting, mut oldest, mut behind_ms) = (Some(iterator), 0, None, 0);
    let (mut first_ms, mut last_ms) = (None, 0);
    for page in 0..PAGES {
        let Some(iterator) = next else { break };
        if page > 0 {
            tokio::time::sleep(PACE).await;
        }
        let found = api.read(&iterator, RECORDS).await?;
        for came in &found.records {
            let all = record::messages(&came.data, &came.partition_key, came.arrived_ms);
            let acknowledged = match from {
                Checkpoint::Within(at, messages) if *at == came.sequence => {
                    usize::try_from(*messages).unwrap_or(0)
                }
                Checkpoint::Within(..) | Checkpoint::Horizon | Checkpoint::After(_) | Checkpoint::End => 0,
            };
            let left = all.iter().skip(acknowledged).map(|message| message.published_at_ms);
            waiting += u64::try_from(left.len()).unwrap_or(0);
            oldest = left.chain(oldest).min();
            first_ms = first_ms.or(Some(came.arrived_ms));
            last_ms = came.arrived_ms;
        }
        (next, behind_ms) = (found.next, found.behind_ms);
        if behind_ms == 0 || waiting > 0 {
            break;
        }
    }
    let span = u64::try_from(last_ms.saturating_sub(first_ms.unwrap_or(last_ms))).unwrap_or(0).max(1);
    Ok((waiting + waiting * behind_ms / span, oldest))
}
