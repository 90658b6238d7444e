//! Shard leases. A shard has at most one consumer, and a replaced consumer cannot store progress.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{LeaseProgress, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease};

const STREAM: &str = "päyments\u{0}";
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);

impl Fixture {
    async fn leases(&self) -> Result<Vec<ShardLease>, String> {
        self.store.leases(STREAM).await.map_err(unexpected("leases"))
    }

    async fn sync_leases(&self, new: &[NewShardLease], removed: &[&str]) -> CaseResult {
        let removed: Vec<String> = removed.iter().map(|&shard| shard.to_owned()).collect();
        self.store.sync_leases(STREAM, new, &removed).await.map_err(unexpected("sync_leases"))
    }

    async fn acquire_leases(
        &self,
        owner: &str,
        shards: &[(&str, u64)],
        steal: bool,
    ) -> Result<Vec<bool>, String> {
        self.acquire_leases_for(owner, shards, steal, LONG).await
    }

    async fn acquire_leases_for(
        &self,
        owner: &str,
        shards: &[(&str, u64)],
        steal: bool,
        ttl: Duration,
    ) -> Result<Vec<bool>, String> {
        let shards = shards.iter().map(|&(shard, counter)| (shard.to_owned(), counter)).collect();
        let request = LeaseRequest { owner: owner.to_owned(), shards, steal, ttl };
        self.store.acquire_leases(STREAM, &request).await.map_err(unexpected("acquire_leases"))
    }

    async fn update_leases(&self, owner: &str, updates: &[LeaseUpdate]) -> Result<Vec<bool>, String> {
        self.store.update_leases(STREAM, owner, updates).await.map_err(unexpected("update_leases"))
    }
}

fn new(shard: &str, parents: &[&str]) -> NewShardLease {
    NewShardLease { shard: shard.to_owned(), parents: parents.iter().map(|&each| each.to_owned()).collect() }
}

fn free(shard: &str, parents: &[&str]) -> ShardLease {
    let NewShardLease { shard, parents } = new(shard, parents);
    let progress = LeaseProgress::default();
    ShardLease { shard, parents, owner: None, counter: 0, remaining: Duration::ZERO, progress }
}

/// Returns an update that reports a number of acknowledged messages and the checkpoint after them.
fn progressed(shard: &str, counter: u64, acknowledged: u64, ttl: Duration) -> LeaseUpdate {
    let progress = LeaseProgress {
        checkpoint: format!("{acknowledged}\u{0}"),
        acknowledged,
        backlog: 3,
        oldest_publish_ms: (acknowledged > 1).then_some(-7),
    };
    LeaseUpdate { shard: shard.to_owned(), counter, progress, ttl }
}

pub(super) async fn synced(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    expect_eq("the leases of an empty stream", &fixture.leases().await?, &Vec::new())?;
    fixture.sync_leases(&[new("b\u{0}", &["a", "é"]), new("a", &[])], &[]).await?;
    expect_eq(
        "the leases of new shards",
        &fixture.leases().await?,
        &vec![free("a", &[]), free("b\u{0}", &["a", "é"])],
    )?;
    expect_eq(
        "the acquisition of a free lease",
        &fixture.acquire_leases("me", &[("a", 0)], false).await?,
        &vec![true],
    )?;
    expect_eq(
        "an update with progress",
        &fixture.update_leases("me", &[progressed("a", 1, 5, LONG)]).await?,
        &vec![true],
    )?;
    fixture.sync_leases(&[new("a", &["x"]), new("c", &[])], &["b\u{0}", "none"]).await?;
    let found = fixture.leases().await?;
    let shards: Vec<&str> = found.iter().map(|lease| lease.shard.as_str()).collect();
    expect_eq("the shards after the second sync", &shards, &vec!["a", "c"])?;
    let kept = found.first().map(|lease| (lease.progress.clone(), lease.parents.clone()));
    expect_eq(
        "the progress of a kept shard",
        &kept,
        &Some((progressed("a", 1, 5, LONG).progress, Vec::new())),
    )?;
    let others = fixture.store.leases("other").await.map_err(unexpected("leases"))?;
    expect_eq("the leases of another stream", &others, &Vec::new())
}

pub(super) async fn acquired(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    fixture.sync_leases(&[new("a", &[]), new("b", &[]), new("c", &[])], &[]).await?;
    expect_eq("the acquisition of no leases", &fixture.acquire_leases("me", &[], false).await?, &Vec::new())?;
    let acquired = fixture.acquire_leases("me", &[("b", 0), ("a", 1), ("none", 0), ("c", 0)], false).await?;
    expect_eq(
        "the acquisition of free leases with correct and wrong counters",
        &acquired,
        &vec![true, false, false, true],
    )?;
    expect_eq(
        "the acquisition of a live lease without stealing",
        &fixture.acquire_leases("you", &[("b", 1)], false).await?,
        &vec![false],
    )?;
    let leases = fixture.leases().await?;
    let of = |lease: &ShardLease| (lease.owner.clone(), lease.counter, lease.remaining > LONG / 2);
    let me = (Some("me".to_owned()), 1, true);
    expect_eq(
        "the owners of the leases",
        &leases.iter().map(of).collect(),
        &vec![(None, 0, false), me.clone(), me],
    )?;
    expect_eq(
        "the acquisition of a live lease by stealing",
        &fixture.acquire_leases("you", &[("b", 1)], true).await?,
        &vec![true],
    )?;
    expect_eq(
        "the acquisition of a live lease with a stale counter",
        &fixture.acquire_leases("he", &[("b", 1)], true).await?,
        &vec![false],
    )?;
    expect_eq(
        "the acquisition of a live lease with a short TTL",
        &fixture.acquire_leases_for("he", &[("b", 2)], true, SHORT).await?,
        &vec![true],
    )?;
    tokio::time::sleep(SHORT * 2).await;
    let expired = fixture.leases().await?.into_iter().find(|lease| lease.shard == "b");
    let expired = expired.map(|lease| (lease.owner, lease.counter, lease.remaining));
    expect_eq("an expired lease", &expired, &Some((Some("he".to_owned()), 3, Duration::ZERO)))?;
    expect_eq(
        "the acquisition of an expired lease",
        &fixture.acquire_leases("me", &[("b", 3)], false).await?,
        &vec![true],
    )?;
    let mut callers = JoinSet::new();
    for number in 0..10 {
        let fixture = fixture.clone();
        callers.spawn(async move {
            let both = if number % 2 == 0 { [("a", 0), ("b", 4)] } else { [("b", 4), ("a", 0)] };
            let mut acquired = fixture.acquire_leases(&format!("caller-{number}"), &both, true).await?;
            if number % 2 == 1 {
                acquired.reverse();
            }
            Ok::<_, String>(acquired)
        });
    }
    let mut won = [0, 0];
    while let Some(ended) = callers.join_next().await {
        let acquired = ended.map_err(|error| error.to_string())??;
        for (won, acquired) in won.iter_mut().zip(acquired) {
            *won += u32::from(acquired);
        }
    }
    ensure(won == [1, 1], || {
        format!("{won:?} of ten concurrent callers acquired the two leases, expected one each")
    })
}

pub(super) async fn updated(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    fixture.sync_leases(&[new("a", &[]), new("b", &[])], &[]).await?;
    fixture.acquire_leases("me", &[("a", 0), ("b", 0)], false).await?;
    let wrong = [progressed("a", 0, 1, LONG), progressed("a", 2, 1, LONG), progressed("none", 1, 1, LONG)];
    for wrong in wrong {
        expect_eq(
            "an update with a wrong counter",
            &fixture.update_leases("me", &[wrong]).await?,
            &vec![false],
        )?;
    }
    expect_eq(
        "an update by another consumer",
        &fixture.update_leases("you", &[progressed("a", 1, 1, LONG)]).await?,
        &vec![false],
    )?;
    for _ in 0..2 {
        let updates = [progressed("b", 1, 2, LONG), progressed("a", 1, 3, SHORT)];
        expect_eq(
            "an update by the owner",
            &fixture.update_leases("me", &updates).await?,
            &vec![true, true],
        )?;
    }
    expect_eq(
        "an update that arrives late",
        &fixture.update_leases("me", &[progressed("b", 1, 1, LONG)]).await?,
        &vec![false],
    )?;
    let found = fixture.leases().await?;
    let stored: Vec<LeaseProgress> = found.iter().map(|lease| lease.progress.clone()).collect();
    let expected = vec![progressed("a", 1, 3, SHORT).progress, progressed("b", 1, 2, LONG).progress];
    expect_eq("the stored progress", &stored, &expected)?;
    tokio::time::sleep(SHORT * 2).await;
    // No other consumer has acquired the expired lease, so the owner may still use it.
    expect_eq(
        "an update after the lease has expired",
        &fixture.update_leases("me", &[progressed("a", 1, 4, LONG)]).await?,
        &vec![true],
    )?;
    fixture.acquire_leases("you", &[("a", 1)], true).await?;
    expect_eq(
        "an update after another consumer has acquired the lease",
        &fixture.update_leases("me", &[progressed("a", 1, 5, LONG)]).await?,
        &vec![false],
    )?;
    for _ in 0..2 {
        let released = fixture.update_leases("me", &[progressed("b", 1, 6, Duration::ZERO)]).await?;
        expect_eq("an update that releases the lease", &released, &vec![true])?;
    }
    let of = |lease: ShardLease| (lease.owner, lease.counter, lease.progress.acknowledged);
    let found: Vec<_> = fixture.leases().await?.into_iter().map(of).collect();
    expect_eq("the leases at the end", &found, &vec![(Some("you".to_owned()), 2, 4), (None, 1, 6)])?;
    expect_eq(
        "the acquisition of a released lease",
        &fixture.acquire_leases("he", &[("b", 1)], false).await?,
        &vec![true],
    )
}
