//! Keeps a consumer's leases, and takes its share: one pass after the other.

use super::super::api::{Shard, id_of};
use super::super::fault::{Fault, Kind};
use super::super::lease::{Lease, NewLease, Take};
use super::Shared;
use super::held::Held;
use super::reader::Reader;
use super::shares::{Wanted, wanted};
use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Between passes, and after one that took something from another: there may be more of it.
const PASS: Duration = Duration::from_secs(1);
const PASS_SOON: Duration = Duration::from_millis(100);
/// A newcomer takes what nobody has, and lets others keep what they have for so long: where all begin at once
/// nothing moves in vain, and who only looks in takes nothing from anybody.
const STEAL_AFTER: Duration = Duration::from_secs(1);
/// Between looks at the stream's shards where nothing says that they have changed.
const SYNC: Duration = Duration::from_secs(30);
/// How long one who leaves tries to say so.
const LEAVE: Duration = Duration::from_secs(2);

/// Keeps a consumer's leases.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    began: Instant,
    /// When the stream's shards were looked at.
    synced: Option<Instant>,
    readers: JoinSet<()>,
    by_shard: BTreeMap<String, AbortHandle>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (readers, by_shard) = (JoinSet::new(), BTreeMap::new());
        Self { shared, began: Instant::now(), synced: None, readers, by_shard }
    }

    /// Runs until the consumer is gone, then gives up what it holds.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<()>) {
        loop {
            // Safe to cancel: what was taken and not noted runs out by itself, or is seen in the next pass.
            let wait = tokio::select! {
                _ = stopped.changed() => break,
                passed = self.pass() => passed.unwrap_or_else(|error| {
                    tracing::debug!(stream = self.shared.stream, %error, "leases are looked at again");
                    PASS
                }),
            };
            // Safe to cancel: the next pass sees what any of them would have said.
            tokio::select! {
                _ = stopped.changed() => break,
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.readers.abort_all();
        let given_up = tokio::time::timeout(LEAVE, self.shared.mark(Duration::ZERO, true)).await;
        if !matches!(given_up, Ok(Ok(()))) {
            tracing::debug!(stream = self.shared.stream, "leases run out by themselves");
        }
    }

    /// Keeps what is held, and takes what is wanted; how long nothing more is to be done.
    async fn pass(&mut self) -> Result<Duration, Error> {
        self.shared.mark(self.shared.lives, true).await?;
        let mut leases = self.shared.leases.list(&self.shared.stream).await?;
        self.follow(&leases);
        if self.synced.is_none_or(|synced| synced.elapsed() >= SYNC) && self.sync(&leases).await? {
            leases = self.shared.leases.list(&self.shared.stream).await?;
        }
        let mine = self.shared.state().shards.keys().cloned().collect::<BTreeSet<_>>();
        let mine = mine.iter().map(String::as_str).collect();
        match wanted(&leases, &self.shared.owner, &mine) {
            Wanted::Free(free) => self.take(&free, false).await,
            Wanted::Steal(lease) if self.began.elapsed() >= STEAL_AFTER => {
                self.take(&[lease], true).await?;
                Ok(PASS_SOON)
            }
            Wanted::Steal(_) | Wanted::Nothing => Ok(PASS),
        }
    }

    /// What the leases say that this consumer does not know: that a shard is another's, or that one came to its
    /// end here, so that the stream has others.
    fn follow(&mut self, leases: &[Lease]) {
        let counters: BTreeMap<&str, u64> =
            leases.iter().map(|lease| (&*lease.shard, lease.counter)).collect();
        let mut state = self.shared.state();
        let is_lost = |(shard, held): (&String, &Held)| {
            (counters.get(&**shard) != Some(&held.counter())).then(|| shard.clone())
        };
        let lost: Vec<String> = state.shards.iter().filter_map(is_lost).collect();
        for shard in &lost {
            tracing::info!(stream = self.shared.stream, shard, "is another's now");
            state.lose(shard);
        }
        let held: BTreeSet<String> = state.shards.keys().cloned().collect();
        drop(state);
        let before = self.by_shard.len();
        // What was read of them is gone.
        self.shared.room.notify_waiters();
        self.by_shard.retain(|shard, reader| {
            let keeps = held.contains(shard);
            if !keeps {
                reader.abort();
            }
            keeps
        });
        while self.readers.try_join_next().is_some() {}
        if self.by_shard.len() + lost.len() < before {
            self.synced = None;
        }
    }

    /// Has a lease for each shard of the stream, and none for others; whether any was added or removed.
    async fn sync(&mut self, leases: &[Lease]) -> Result<bool, Error> {
        let stream = &self.shared.stream;
        let shards = match self.shared.api.shards(stream).await {
            Ok(shards) if shards.is_empty() => {
                return Err(Fault::new(Kind::InUse, "ListShards: there are none yet").into());
            }
            Ok(shards) => shards,
            Err(fault) => {
                if matches!(fault.kind, Kind::Missing | Kind::Refused) {
                    self.shared.fail(fault.clone().into());
                }
                return Err(fault.into());
            }
        };
        let known: BTreeSet<&str> = leases.iter().map(|lease| &*lease.shard).collect();
        let listed: BTreeSet<&str> = shards.iter().map(|shard| &*shard.key).collect();
        let new = shards.iter().filter(|shard| !known.contains(&*shard.key));
        let new: Vec<NewLease> = new
            .map(|Shard { key, parents }| NewLease { shard: key.clone(), parents: parents.clone() })
            .collect();
        let names: BTreeSet<&str> = shards.iter().map(|shard| id_of(&shard.key)).collect();
        // A list may be older than what somebody reads already: that is there, unless its name is another's now.
        let may_be_there = |lease: &Lease| lease.is_held() && !names.contains(id_of(&lease.shard));
        let is_gone = |lease: &&Lease| !listed.contains(&*lease.shard) && !may_be_there(lease);
        let gone: Vec<String> = leases.iter().filter(is_gone).map(|lease| lease.shard.clone()).collect();
        let is_news = !new.is_empty() || !gone.is_empty();
        if is_news {
            self.shared.leases.sync(stream, &new, &gone).await?;
        }
        // A shard that has ended has others in its place: as long as they are missing it is looked again.
        let has_heirs = |ended: &Lease| shards.iter().any(|shard| shard.parents.contains(&ended.shard));
        let mut ended = leases.iter().filter(|lease| lease.is_ended() && listed.contains(&*lease.shard));
        self.synced = ended.all(has_heirs).then(Instant::now);
        Ok(is_news)
    }

    async fn take(&mut self, leases: &[&Lease], steal: bool) -> Result<Duration, Error> {
        let take = Take {
            owner: self.shared.owner.clone(),
            shards: leases.iter().map(|lease| (lease.shard.clone(), lease.counter)).collect(),
            steal: steal || leases.iter().any(|lease| lease.owner.as_ref() == Some(&self.shared.owner)),
            lives: self.shared.lives,
        };
        let taken = self.shared.leases.take(&self.shared.stream, &take).await?;
        let taken: Vec<&&Lease> =
            leases.iter().zip(taken).filter(|(_, taken)| *taken).map(|(lease, _)| lease).collect();
        for lease in &taken {
            tracing::info!(stream = self.shared.stream, shard = lease.shard, steal, "is read from here");
            self.shared.state().shards.insert(lease.shard.clone(), Held::of(lease));
            let reader = Reader::new(Arc::clone(&self.shared), lease.shard.clone(), lease.counter + 1);
            let reader = self.readers.spawn(reader.run());
            if let Some(before) = self.by_shard.insert(lease.shard.clone(), reader) {
                before.abort();
            }
        }
        Ok(if taken.is_empty() { PASS } else { PASS_SOON })
    }
}
