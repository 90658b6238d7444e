//! A shard is read by one at a time, and one who was replaced writes nothing more down.

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

    async fn sync(&self, new: &[NewShardLease], gone: &[&str]) -> CaseResult {
        let gone: Vec<String> = gone.iter().map(|&shard| shard.to_owned()).collect();
        self.store.sync_leases(STREAM, new, &gone).await.map_err(unexpected("sync_leases"))
    }

    async fn take_shards(
        &self,
        owner: &str,
        shards: &[(&str, u64)],
        steal: bool,
    ) -> Result<Vec<bool>, String> {
        self.take_for(owner, shards, steal, LONG).await
    }

    async fn take_for(
        &self,
        owner: &str,
        shards: &[(&str, u64)],
        steal: bool,
        lives: Duration,
    ) -> Result<Vec<bool>, String> {
        let shards = shards.iter().map(|&(shard, counter)| (shard.to_owned(), counter)).collect();
        let take = LeaseRequest { owner: owner.to_owned(), shards, steal, ttl: lives };
        self.store.acquire_leases(STREAM, &take).await.map_err(unexpected("acquire_leases"))
    }

    async fn mark(&self, owner: &str, marks: &[LeaseUpdate]) -> Result<Vec<bool>, String> {
        self.store.update_leases(STREAM, owner, marks).await.map_err(unexpected("update_leases"))
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

/// So many messages were taken, and the checkpoint stands behind them.
fn mark(shard: &str, counter: u64, taken: u64, lives: Duration) -> LeaseUpdate {
    let progress = LeaseProgress {
        checkpoint: format!("{taken}\u{0}"),
        acknowledged: taken,
        backlog: 3,
        oldest_publish_ms: (taken > 1).then_some(-7),
    };
    LeaseUpdate { shard: shard.to_owned(), counter, progress, ttl: lives }
}

pub(super) async fn synced(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    expect_eq("nobody's", &fixture.leases().await?, &Vec::new())?;
    fixture.sync(&[new("b\u{0}", &["a", "é"]), new("a", &[])], &[]).await?;
    expect_eq("new ones", &fixture.leases().await?, &vec![free("a", &[]), free("b\u{0}", &["a", "é"])])?;
    expect_eq("to take one", &fixture.take_shards("me", &[("a", 0)], false).await?, &vec![true])?;
    expect_eq("to mark it", &fixture.mark("me", &[mark("a", 1, 5, LONG)]).await?, &vec![true])?;
    fixture.sync(&[new("a", &["x"]), new("c", &[])], &["b\u{0}", "none"]).await?;
    let found = fixture.leases().await?;
    let shards: Vec<&str> = found.iter().map(|lease| lease.shard.as_str()).collect();
    expect_eq("what is there", &shards, &vec!["a", "c"])?;
    let kept = found.first().map(|lease| (lease.progress.clone(), lease.parents.clone()));
    expect_eq("one that was there", &kept, &Some((mark("a", 1, 5, LONG).progress, Vec::new())))?;
    let others = fixture.store.leases("other").await.map_err(unexpected("leases"))?;
    expect_eq("of another stream", &others, &Vec::new())
}

pub(super) async fn acquired(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    fixture.sync(&[new("a", &[]), new("b", &[]), new("c", &[])], &[]).await?;
    expect_eq("none", &fixture.take_shards("me", &[], false).await?, &Vec::new())?;
    let taken = fixture.take_shards("me", &[("b", 0), ("a", 1), ("none", 0), ("c", 0)], false).await?;
    expect_eq("with the right counter", &taken, &vec![true, false, false, true])?;
    expect_eq("one that is held", &fixture.take_shards("you", &[("b", 1)], false).await?, &vec![false])?;
    let held = fixture.leases().await?;
    let of = |lease: &ShardLease| (lease.owner.clone(), lease.counter, lease.remaining > LONG / 2);
    let me = (Some("me".to_owned()), 1, true);
    expect_eq("who has them", &held.iter().map(of).collect(), &vec![(None, 0, false), me.clone(), me])?;
    expect_eq("one that is stolen", &fixture.take_shards("you", &[("b", 1)], true).await?, &vec![true])?;
    expect_eq("with an old counter", &fixture.take_shards("he", &[("b", 1)], true).await?, &vec![false])?;
    expect_eq("for a moment", &fixture.take_for("he", &[("b", 2)], true, SHORT).await?, &vec![true])?;
    tokio::time::sleep(SHORT * 2).await;
    let run_out = fixture.leases().await?.into_iter().find(|lease| lease.shard == "b");
    let run_out = run_out.map(|lease| (lease.owner, lease.counter, lease.remaining));
    expect_eq("one that has run out", &run_out, &Some((Some("he".to_owned()), 3, Duration::ZERO)))?;
    expect_eq("after it has run out", &fixture.take_shards("me", &[("b", 3)], false).await?, &vec![true])?;
    let mut racers = JoinSet::new();
    for number in 0..10 {
        let fixture = fixture.clone();
        racers.spawn(async move {
            let both = if number % 2 == 0 { [("a", 0), ("b", 4)] } else { [("b", 4), ("a", 0)] };
            let mut taken = fixture.take_shards(&format!("racer-{number}"), &both, true).await?;
            if number % 2 == 1 {
                taken.reverse();
            }
            Ok::<_, String>(taken)
        });
    }
    let mut won = [0, 0];
    while let Some(racer) = racers.join_next().await {
        let taken = racer.map_err(|error| error.to_string())??;
        for (won, taken) in won.iter_mut().zip(taken) {
            *won += u32::from(taken);
        }
    }
    ensure(won == [1, 1], || format!("of ten at once {won:?} took them"))
}

pub(super) async fn updated(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    fixture.sync(&[new("a", &[]), new("b", &[])], &[]).await?;
    fixture.take_shards("me", &[("a", 0), ("b", 0)], false).await?;
    let wrong = [mark("a", 0, 1, LONG), mark("a", 2, 1, LONG), mark("none", 1, 1, LONG)];
    for wrong in wrong {
        expect_eq("with a wrong counter", &fixture.mark("me", &[wrong]).await?, &vec![false])?;
    }
    expect_eq("by another", &fixture.mark("you", &[mark("a", 1, 1, LONG)]).await?, &vec![false])?;
    for _ in 0..2 {
        let marks = [mark("b", 1, 2, LONG), mark("a", 1, 3, SHORT)];
        expect_eq("by its owner", &fixture.mark("me", &marks).await?, &vec![true, true])?;
    }
    expect_eq("one that is late", &fixture.mark("me", &[mark("b", 1, 1, LONG)]).await?, &vec![false])?;
    let found = fixture.leases().await?;
    let progress: Vec<LeaseProgress> = found.iter().map(|lease| lease.progress.clone()).collect();
    let expected = vec![mark("a", 1, 3, SHORT).progress, mark("b", 1, 2, LONG).progress];
    expect_eq("what was written down", &progress, &expected)?;
    tokio::time::sleep(SHORT * 2).await;
    // Nobody has taken it: it is still its own.
    expect_eq("after it ran out", &fixture.mark("me", &[mark("a", 1, 4, LONG)]).await?, &vec![true])?;
    fixture.take_shards("you", &[("a", 1)], true).await?;
    expect_eq("after it was taken", &fixture.mark("me", &[mark("a", 1, 5, LONG)]).await?, &vec![false])?;
    for _ in 0..2 {
        let given_up = fixture.mark("me", &[mark("b", 1, 6, Duration::ZERO)]).await?;
        expect_eq("one that is given up", &given_up, &vec![true])?;
    }
    let of = |lease: ShardLease| (lease.owner, lease.counter, lease.progress.acknowledged);
    let found: Vec<_> = fixture.leases().await?.into_iter().map(of).collect();
    expect_eq("in the end", &found, &vec![(Some("you".to_owned()), 2, 4), (None, 1, 6)])?;
    expect_eq("one that nobody has", &fixture.take_shards("he", &[("b", 1)], false).await?, &vec![true])
}
