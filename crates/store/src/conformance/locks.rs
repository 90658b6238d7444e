//! Locks: one holder at a time, leases by the database's clock, and fencing tokens that only rise.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::fixture::{Fixture, NAMESPACE, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{Lock, LockHold, LockOutcome, LockRequest, MaintenanceRequest};

/// A lease that outlasts the case.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

fn request(key: &str, owner: &str, ttl: Duration) -> LockRequest {
    LockRequest { namespace: NAMESPACE.to_owned(), key: key.to_owned(), owner: owner.to_owned(), ttl }
}

fn hold(lock: &Lock) -> LockHold {
    LockHold {
        namespace: lock.namespace.clone(),
        key: lock.key.clone(),
        owner: lock.owner.clone(),
        token: Some(lock.token),
    }
}

impl Fixture {
    async fn acquire_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<LockOutcome, String> {
        self.store.acquire_lock(&request(key, owner, ttl)).await.map_err(unexpected("acquire_lock"))
    }

    /// Acquires a lock that must be free or already owned by `owner`.
    async fn expect_lock(&self, key: &str, owner: &str, ttl: Duration) -> Result<Lock, String> {
        match self.acquire_lock(key, owner, ttl).await? {
            LockOutcome::Granted(lock) => Ok(lock),
            other => Err(format!("{owner} did not acquire {key}: {other:?}")),
        }
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, String> {
        self.store.renew_lock(hold, ttl).await.map_err(unexpected("renew_lock"))
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, String> {
        self.store.release_lock(hold).await.map_err(unexpected("release_lock"))
    }
}

pub(super) async fn one_holder(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.expect_lock("account/7", "a", LONG).await?;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    let remaining = first.expires_at.since(now);
    ensure(remaining <= LONG && remaining > LONG / 2, || format!("{first:?} expires in {remaining:?}"))?;
    ensure(first.acquired_at <= now, || format!("{first:?} was acquired after the current time {}", now.0))?;
    let granted = (first.namespace.as_str(), first.key.as_str(), first.owner.as_str());
    expect_eq("the granted lock", &granted, &(NAMESPACE, "account/7", "a"))?;
    expect_eq(
        "an acquisition by a second owner",
        &fixture.acquire_lock("account/7", "b", LONG).await?,
        &LockOutcome::Held(first.clone()),
    )?;
    // The response to the first request may have been lost.
    let again = fixture.expect_lock("account/7", "a", LONG * 2).await?;
    expect_eq(
        "the token and the time of a repeated request",
        &(again.token, again.acquired_at),
        &(first.token, first.acquired_at),
    )?;
    ensure(again.expires_at > first.expires_at, || {
        format!("{again:?} does not expire later than {first:?}")
    })?;
    let other = fixture.expect_lock("account/8", "b", LONG).await?;
    ensure(other.token > 0 && first.token > 0, || "a token is 0".to_owned())?;
    let renewed = fixture.renew_lock(&hold(&first), LONG * 4).await?;
    let LockOutcome::Granted(renewed) = renewed else {
        return Err(format!("the owner did not renew the lock: {renewed:?}"));
    };
    ensure(renewed.expires_at > again.expires_at, || {
        format!("{renewed:?} does not expire later than {again:?}")
    })?;
    let foreign = LockHold { owner: "b".to_owned(), ..hold(&first) };
    expect_eq(
        "a renewal by another owner",
        &fixture.renew_lock(&foreign, LONG).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    expect_eq(
        "a release by another owner",
        &fixture.release_lock(&foreign).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    let stale = LockHold { token: Some(first.token - 1), ..hold(&first) };
    expect_eq(
        "a release with a stale token",
        &fixture.release_lock(&stale).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    // A release without a token applies to any token of the owner.
    let any = LockHold { token: None, ..hold(&first) };
    let released = fixture.release_lock(&any).await?;
    ensure(matches!(&released, LockOutcome::Granted(lock) if lock.token == first.token), || {
        format!("the owner did not release the lock: {released:?}")
    })?;
    expect_eq("a second release", &fixture.release_lock(&any).await?, &LockOutcome::Free)?;
    expect_eq("a renewal of a free lock", &fixture.renew_lock(&any, LONG).await?, &LockOutcome::Free)?;
    let next = fixture.expect_lock("account/7", "b", LONG).await?;
    ensure(next.token > first.token, || format!("token {} was issued after {}", next.token, first.token))?;
    expect_eq(
        "a renewal by the previous owner",
        &fixture.renew_lock(&hold(&first), LONG).await?,
        &LockOutcome::Held(next),
    )
}

pub(super) async fn leases(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.expect_lock("a", "a", SHORT).await?;
    tokio::time::sleep(SHORT * 2).await;
    expect_eq(
        "a renewal after the lease has expired",
        &fixture.renew_lock(&hold(&first), LONG).await?,
        &LockOutcome::Free,
    )?;
    expect_eq(
        "the list of locks after the lease has expired",
        &fixture.store.locks(NAMESPACE, None, 10).await.map_err(unexpected("locks"))?,
        &vec![],
    )?;
    let second = fixture.expect_lock("a", "b", LONG).await?;
    ensure(second.token > first.token, || {
        format!("token {} was issued after {}", second.token, first.token)
    })?;
    ensure(second.acquired_at > first.acquired_at, || format!("{second:?} was acquired before {first:?}"))?;
    expect_eq(
        "a release after another owner has acquired the lock",
        &fixture.release_lock(&hold(&first)).await?,
        &LockOutcome::Held(second),
    )?;
    // An owner gets a new token after its lease has expired, because others may have held the lock in between.
    let third = fixture.expect_lock("b", "a", SHORT).await?;
    tokio::time::sleep(SHORT * 2).await;
    let fourth = fixture.expect_lock("b", "a", LONG).await?;
    ensure(fourth.token > third.token, || format!("token {} was issued after {}", fourth.token, third.token))
}

pub(super) async fn tokens_rise(factory: Arc<dyn Factory>) -> CaseResult {
    let mut fixture = Fixture::open(&factory).await?;
    let mut last = 0;
    for round in 0..9 {
        let lock = fixture.expect_lock("a", if round % 2 == 0 { "a" } else { "b" }, LONG).await?;
        ensure(lock.token > last, || {
            format!("token {} was issued after {last} in round {round}", lock.token)
        })?;
        last = lock.token;
        fixture.release_lock(&hold(&lock)).await?;
        if round % 3 == 1 {
            // Maintenance may remove locks that have been free for long, but neither live locks nor the token counter.
            let held = fixture.expect_lock("held", "a", LONG).await?;
            let now = fixture.store.now().await.map_err(unexpected("now"))?.after(Duration::from_secs(7200));
            let request = MaintenanceRequest { now, retention: crate::Retention::default() };
            fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
            expect_eq(
                "an acquisition of a live lock after maintenance",
                &fixture.acquire_lock("held", "b", LONG).await?,
                &LockOutcome::Held(held),
            )?;
        }
        if round % 3 == 2 {
            fixture.store = factory.reopen(fixture.store).await?;
        }
    }
    Ok(())
}

/// Observations of a lock that many owners acquire in turn.
#[derive(Debug, Default)]
struct Observations {
    holders: AtomicUsize,
    /// The highest number of other holders that a holder observed.
    concurrent: AtomicUsize,
    last: AtomicU64,
    /// A token that did not rise, and its predecessor.
    not_rising: OnceLock<(u64, u64)>,
}

impl Observations {
    fn acquired(&self, token: u64) {
        let others = self.holders.fetch_add(1, Ordering::SeqCst);
        self.concurrent.fetch_max(others, Ordering::SeqCst);
        let last = self.last.swap(token, Ordering::SeqCst);
        if token <= last {
            self.not_rising.get_or_init(|| (token, last));
        }
    }

    fn released(&self) {
        self.holders.fetch_sub(1, Ordering::SeqCst);
    }

    /// Reports concurrent holders first, because the tokens of concurrent holders usually do not rise either.
    fn result(&self) -> CaseResult {
        let concurrent = self.concurrent.load(Ordering::SeqCst);
        ensure(concurrent == 0, || format!("{concurrent} other owners held the lock at the same time"))?;
        match self.not_rising.get() {
            Some((token, last)) => Err(format!("token {token} was issued after {last}")),
            None => Ok(()),
        }
    }
}

pub(super) async fn contended(factory: Arc<dyn Factory>) -> CaseResult {
    const OWNERS: usize = 20;
    const TIMES: usize = 5;
    let fixture = Fixture::open(&factory).await?;
    let observations = Arc::new(Observations::default());
    let mut owners = tokio::task::JoinSet::new();
    for owner in 0..OWNERS {
        let (fixture, observations) = (fixture.clone(), Arc::clone(&observations));
        owners.spawn(async move {
            let owner = format!("owner-{owner}");
            let mut acquired = 0;
            for _ in 0..10_000 {
                let LockOutcome::Granted(lock) = fixture.acquire_lock("a", &owner, LONG).await? else {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                };
                observations.acquired(lock.token);
                tokio::time::sleep(Duration::from_millis(1)).await;
                observations.released();
                fixture.release_lock(&hold(&lock)).await?;
                acquired += 1;
                if acquired == TIMES {
                    return Ok(());
                }
            }
            Err(format!("{owner} acquired the lock {acquired} of {TIMES} times"))
        });
    }
    while let Some(ended) = owners.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    observations.result()
}

pub(super) async fn listed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let page = async |after: Option<&str>| {
        fixture.store.locks(NAMESPACE, after, 2).await.map_err(unexpected("locks"))
    };
    expect_eq("the list without locks", &page(None).await?, &Vec::new())?;
    let odd = "ü/\u{0}";
    let (b, a, odd) = (
        fixture.expect_lock("b", "x", LONG).await?,
        fixture.expect_lock("a", "y", LONG).await?,
        fixture.expect_lock(odd, odd, LONG).await?,
    );
    fixture.release_lock(&hold(&fixture.expect_lock("a0", "x", LONG).await?)).await?;
    let foreign = LockRequest { namespace: "other".to_owned(), ..request("a", "x", LONG) };
    let foreign = fixture.store.acquire_lock(&foreign).await.map_err(unexpected("acquire_lock"))?;
    ensure(matches!(foreign, LockOutcome::Granted(_)), || {
        format!("a lock of another namespace was not granted: {foreign:?}")
    })?;
    expect_eq("the first page of locks", &page(None).await?, &vec![a, b.clone()])?;
    expect_eq("the second page of locks", &page(Some(&b.key)).await?, &vec![odd.clone()])?;
    expect_eq("the third page of locks", &page(Some(&odd.key)).await?, &Vec::new())
}
