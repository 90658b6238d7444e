//! Locks: one holder at a time, leases by the database's clock, and tokens that rise for ever.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::fixture::{Fixture, NAMESPACE, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{Lock, LockHold, LockOutcome, LockRequest, MaintenanceRequest};

/// Long enough to be held to the end of a case.
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
    async fn acquire(&self, key: &str, owner: &str, ttl: Duration) -> Result<LockOutcome, String> {
        self.store.acquire_lock(&request(key, owner, ttl)).await.map_err(unexpected("acquire_lock"))
    }

    /// A lock that has to be had.
    async fn take(&self, key: &str, owner: &str, ttl: Duration) -> Result<Lock, String> {
        match self.acquire(key, owner, ttl).await? {
            LockOutcome::Granted(lock) => Ok(lock),
            other => Err(format!("{owner} does not get {key}: {other:?}")),
        }
    }

    async fn renew(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, String> {
        self.store.renew_lock(hold, ttl).await.map_err(unexpected("renew_lock"))
    }

    async fn give_back(&self, hold: &LockHold) -> Result<LockOutcome, String> {
        self.store.release_lock(hold).await.map_err(unexpected("release_lock"))
    }
}

pub(super) async fn one_holder(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.take("account/7", "a", LONG).await?;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    let lasts = first.expires_at.since(now);
    ensure(lasts <= LONG && lasts > LONG / 2, || format!("{first:?} lasts for {lasts:?}"))?;
    ensure(first.acquired_at <= now, || format!("{first:?} is held from later than {}", now.0))?;
    let mine = (first.namespace.as_str(), first.key.as_str(), first.owner.as_str());
    expect_eq("what is held", &mine, &(NAMESPACE, "account/7", "a"))?;
    expect_eq(
        "who comes second",
        &fixture.acquire("account/7", "b", LONG).await?,
        &LockOutcome::Held(first.clone()),
    )?;
    // The answer to the first time may have been lost.
    let again = fixture.take("account/7", "a", LONG * 2).await?;
    expect_eq(
        "its token, asked again",
        &(again.token, again.acquired_at),
        &(first.token, first.acquired_at),
    )?;
    ensure(again.expires_at > first.expires_at, || format!("{again:?} does not last longer than {first:?}"))?;
    let others = fixture.take("account/8", "b", LONG).await?;
    ensure(others.token > 0 && first.token > 0, || "a token is nothing".to_owned())?;
    let renewed = fixture.renew(&hold(&first), LONG * 4).await?;
    let LockOutcome::Granted(renewed) = renewed else { return Err(format!("to renew: {renewed:?}")) };
    ensure(renewed.expires_at > again.expires_at, || format!("{renewed:?} does not last longer"))?;
    let strange = LockHold { owner: "b".to_owned(), ..hold(&first) };
    expect_eq(
        "a stranger renews",
        &fixture.renew(&strange, LONG).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    expect_eq(
        "a stranger gives it back",
        &fixture.give_back(&strange).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    let stale = LockHold { token: Some(first.token - 1), ..hold(&first) };
    expect_eq(
        "an old token gives it back",
        &fixture.give_back(&stale).await?,
        &LockOutcome::Held(renewed.clone()),
    )?;
    // Who names no token means whichever it has.
    let any = LockHold { token: None, ..hold(&first) };
    let given = fixture.give_back(&any).await?;
    ensure(matches!(&given, LockOutcome::Granted(lock) if lock.token == first.token), || {
        format!("to give it back: {given:?}")
    })?;
    expect_eq("to give it back again", &fixture.give_back(&any).await?, &LockOutcome::Free)?;
    expect_eq("to renew what is free", &fixture.renew(&any, LONG).await?, &LockOutcome::Free)?;
    let next = fixture.take("account/7", "b", LONG).await?;
    ensure(next.token > first.token, || format!("token {} came after {}", next.token, first.token))?;
    expect_eq("who had it renews", &fixture.renew(&hold(&first), LONG).await?, &LockOutcome::Held(next))
}

pub(super) async fn leases(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.take("a", "a", SHORT).await?;
    tokio::time::sleep(SHORT * 2).await;
    expect_eq("to renew too late", &fixture.renew(&hold(&first), LONG).await?, &LockOutcome::Free)?;
    expect_eq(
        "what is held",
        &fixture.store.locks(NAMESPACE, None, 10).await.map_err(unexpected("locks"))?,
        &vec![],
    )?;
    let second = fixture.take("a", "b", LONG).await?;
    ensure(second.token > first.token, || format!("token {} came after {}", second.token, first.token))?;
    ensure(second.acquired_at > first.acquired_at, || format!("{second:?} began before {first:?}"))?;
    expect_eq(
        "to give it back too late",
        &fixture.give_back(&hold(&first)).await?,
        &LockOutcome::Held(second),
    )?;
    // The same owner after its lease is another one: it may have been away.
    let third = fixture.take("b", "a", SHORT).await?;
    tokio::time::sleep(SHORT * 2).await;
    let fourth = fixture.take("b", "a", LONG).await?;
    ensure(fourth.token > third.token, || format!("token {} came after {}", fourth.token, third.token))
}

pub(super) async fn tokens_rise(factory: Arc<dyn Factory>) -> CaseResult {
    let mut fixture = Fixture::open(&factory).await?;
    let mut last = 0;
    for round in 0..9 {
        let lock = fixture.take("a", if round % 2 == 0 { "a" } else { "b" }, LONG).await?;
        ensure(lock.token > last, || format!("token {} came after {last} in round {round}", lock.token))?;
        last = lock.token;
        fixture.give_back(&hold(&lock)).await?;
        if round % 3 == 1 {
            // What is free for long is not kept; and what is counted on is.
            let held = fixture.take("held", "a", LONG).await?;
            let now = fixture.store.now().await.map_err(unexpected("now"))?.after(Duration::from_secs(7200));
            let request = MaintenanceRequest { now, retention: None };
            fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
            expect_eq(
                "what is held, after upkeep",
                &fixture.acquire("held", "b", LONG).await?,
                &LockOutcome::Held(held),
            )?;
        }
        if round % 3 == 2 {
            fixture.store = factory.reopen(fixture.store).await?;
        }
    }
    Ok(())
}

/// What was seen of a lock that many hold in turn.
#[derive(Debug, Default)]
struct Seen {
    inside: AtomicUsize,
    /// As many as held it beside another.
    beside: AtomicUsize,
    last: AtomicU64,
    /// A token that did not rise, and the one before it.
    fell: OnceLock<(u64, u64)>,
}

impl Seen {
    fn enters(&self, token: u64) {
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        self.beside.fetch_max(others, Ordering::SeqCst);
        let last = self.last.swap(token, Ordering::SeqCst);
        if token <= last {
            self.fell.get_or_init(|| (token, last));
        }
    }

    fn leaves(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    /// One of two who hold it together has a token that does not rise, mostly: so that they do is told first.
    fn verdict(&self) -> CaseResult {
        let beside = self.beside.load(Ordering::SeqCst);
        ensure(beside == 0, || format!("somebody holds it beside {beside} others"))?;
        match self.fell.get() {
            Some((token, last)) => Err(format!("token {token} came after {last}")),
            None => Ok(()),
        }
    }
}

pub(super) async fn contended(factory: Arc<dyn Factory>) -> CaseResult {
    const OWNERS: usize = 20;
    const TIMES: usize = 5;
    let fixture = Fixture::open(&factory).await?;
    let seen = Arc::new(Seen::default());
    let mut owners = tokio::task::JoinSet::new();
    for owner in 0..OWNERS {
        let (fixture, seen) = (fixture.clone(), Arc::clone(&seen));
        owners.spawn(async move {
            let owner = format!("owner-{owner}");
            let mut taken = 0;
            for _ in 0..10_000 {
                let LockOutcome::Granted(lock) = fixture.acquire("a", &owner, LONG).await? else {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                };
                seen.enters(lock.token);
                tokio::time::sleep(Duration::from_millis(1)).await;
                seen.leaves();
                fixture.give_back(&hold(&lock)).await?;
                taken += 1;
                if taken == TIMES {
                    return Ok(());
                }
            }
            Err(format!("{owner} had it {taken} of {TIMES} times"))
        });
    }
    while let Some(ended) = owners.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    seen.verdict()
}

pub(super) async fn listed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let page = async |after: Option<&str>| {
        fixture.store.locks(NAMESPACE, after, 2).await.map_err(unexpected("locks"))
    };
    expect_eq("none", &page(None).await?, &Vec::new())?;
    let odd = "ü/\u{0}";
    let (b, a, odd) = (
        fixture.take("b", "x", LONG).await?,
        fixture.take("a", "y", LONG).await?,
        fixture.take(odd, odd, LONG).await?,
    );
    fixture.give_back(&hold(&fixture.take("a0", "x", LONG).await?)).await?;
    let elsewhere = LockRequest { namespace: "other".to_owned(), ..request("a", "x", LONG) };
    let elsewhere = fixture.store.acquire_lock(&elsewhere).await.map_err(unexpected("acquire_lock"))?;
    ensure(matches!(elsewhere, LockOutcome::Granted(_)), || format!("another namespace's: {elsewhere:?}"))?;
    expect_eq("the first page", &page(None).await?, &vec![a, b.clone()])?;
    expect_eq("the one behind it", &page(Some(&b.key)).await?, &vec![odd.clone()])?;
    expect_eq("the one behind that", &page(Some(&odd.key)).await?, &Vec::new())
}
